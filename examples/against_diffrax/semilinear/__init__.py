"""Work and precision on semilinear equations, values and gradients, beside Diffrax."""
