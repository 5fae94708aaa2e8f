"""How a run's verdicts hold when its test images change: light, contrast, blur, noise, JPEG, shift."""
