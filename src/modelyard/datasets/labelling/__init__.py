"""Texts labelled by people: tasks, answers, how far they agree, and the rows that come of it."""
