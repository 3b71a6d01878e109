"""Training: VAE, teacher, flow map, distillation. Each stage is a command that can be resumed."""
