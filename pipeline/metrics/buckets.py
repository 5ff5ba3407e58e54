"""Upper bounds of histograms' buckets, alike everywhere, so that they can be added up."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
