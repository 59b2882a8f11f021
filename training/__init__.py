"""How g3n-mini is made: data, vocabulary, training, export, evaluation."""
