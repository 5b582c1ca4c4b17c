"""The project file `modelyard.yaml`: which data, recipes, gates, rollouts and services there are."""
