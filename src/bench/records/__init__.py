"""What a run leaves: its record and predictions; and what others published."""
