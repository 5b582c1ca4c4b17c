"""Limits: who may use how much, in one process or in Redis for several; agents' caps and spend alarms."""
