"""softmax, log_softmax and logsumexp of rows."""
