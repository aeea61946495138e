"""What a third party brings, with no change under vidray/: a sampling, a planner, extractors, a joint model."""
