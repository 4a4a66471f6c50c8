"""MT-Bench: judged live, and scored from what a judge wrote."""
