"""Steps for frames, a file each."""
