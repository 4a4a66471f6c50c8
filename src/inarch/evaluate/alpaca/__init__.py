"""AlpacaEval 2: judged live, and scored from what a judge wrote."""
