"""One module per verb: settings in, run folder out. The only place where areas meet."""
