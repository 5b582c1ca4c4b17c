"""Who answers a request: rules, the rollout, preferences, replicas, and the health of what could answer."""
