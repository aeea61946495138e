"""Steps for audio, a file each."""
