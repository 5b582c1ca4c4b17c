"""What everything stands on: ids, digests, time, money, errors, whole files. Imports nothing of ours."""
