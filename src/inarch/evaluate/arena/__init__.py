"""Arena-Hard v0.1 and v2: judged live, and scored from what a judge wrote."""
