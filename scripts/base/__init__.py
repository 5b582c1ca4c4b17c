"""The parts of `make_base.py`: corpus, tokenizer, pretraining, model card."""
