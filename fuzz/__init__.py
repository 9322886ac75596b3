"""What a registry says, and what must hold of every reading of it, whoever makes it up: hypothesis or libFuzzer."""
