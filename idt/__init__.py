"""Improved dense trajectories: videos to tracks, descriptors, Fisher vectors and SVM scores."""
