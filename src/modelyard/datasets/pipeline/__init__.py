"""The steps run over blocks: by workers, within bounded memory, to the same digest."""
