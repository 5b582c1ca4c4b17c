"""What may go in and out: filters on requests and answers, masking, the kill switch, secrets, caps, safe logs."""
