"""The exact posterior of a fit by samplers of other libraries: BlackJAX, NumPyro.

    y = exp(-rate t) + offset,     five noisy data: the posterior of (log rate, offset) is curved

`posterior.vector_log_density` is a plain function of one vector, which is about standard normal: samplers take it as it
is and have nothing to scale. The libraries are not among the package's own: `pip install blackjax numpyro`.

    python examples/samplers.py [--sampler blackjax | numpyro] [--count 2000]
"""

import argparse

import jax
import jax.numpy as jnp

import krylovpde as kp


# --8<-- [start:blackjax]
def blackjax_samples(density, size: int, key, count: int) -> jax.Array:
    """By the no-U-turn sampler of BlackJAX, after 500 steps of adaptation."""
    import blackjax  # pyright: ignore[reportMissingImports]

    adapt_key, sample_key = jax.random.split(key)
    warmup = blackjax.window_adaptation(blackjax.nuts, density)
    (state, parameters), _ = warmup.run(adapt_key, jnp.zeros(size), num_steps=500)
    step = blackjax.nuts(density, **parameters).step

    def advance(state, key):
        state, _ = step(key, state)
        return state, state.position

    return jax.lax.scan(advance, state, jax.random.split(sample_key, count))[1]


# --8<-- [end:blackjax]
# --8<-- [start:numpyro]
def numpyro_samples(density, size: int, key, count: int) -> jax.Array:
    """By the no-U-turn sampler of NumPyro."""
    from numpyro.infer import MCMC, NUTS  # pyright: ignore[reportMissingImports]

    chain = MCMC(NUTS(potential_fn=lambda vector: -density(vector)), num_warmup=500, num_samples=count)
    chain.run(key, init_params=jnp.zeros(size))
    return chain.get_samples()


# --8<-- [end:numpyro]
def posterior_of_a_decay(key: jax.Array) -> kp.inverse.LaplacePosterior:
    """Of few data with large errors."""
    times = jnp.linspace(0.2, 3.0, 5)
    start = {"rate": kp.inverse.Positive.from_value(1.0), "offset": jnp.asarray(0.0)}
    data = jnp.exp(-0.8 * times) + 0.1 * jax.random.normal(key, times.shape)
    loss = kp.inverse.LeastSquares(lambda m: jnp.exp(-m["rate"].value * times) + m["offset"], data, 0.25)
    prior = kp.inverse.Gaussian(lambda m: (m["rate"].raw, m["offset"]), 1.0)
    estimate = kp.inverse.fit(loss + prior, start, kp.inverse.GaussNewton(), progress=None).model
    return kp.inverse.laplace_posterior(loss, prior, estimate, rank=2, key=key)


def by_quadrature(posterior: kp.inverse.LaplacePosterior) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the logarithm of the rate, by sums over a grid of two numbers."""
    vectors = jnp.stack(jnp.meshgrid(*[jnp.linspace(-12.0, 12.0, 241)] * 2), axis=-1).reshape(-1, 2)
    density = jnp.exp(jax.lax.map(posterior.vector_log_density, vectors, batch_size=1000))
    rates = jax.vmap(lambda vector: posterior.model_at(vector)["rate"].raw)(vectors)
    mean = jnp.average(rates, weights=density)
    return mean, jnp.sqrt(jnp.average((rates - mean) ** 2, weights=density))


def main():
    """Sample, and print the logarithm of the rate beside that of the normal approximation, and the exact one."""
    parser = argparse.ArgumentParser(description="The posterior by BlackJAX or NumPyro.")
    parser.add_argument("--sampler", choices=["blackjax", "numpyro"], default="blackjax", help="whose")
    parser.add_argument("--count", type=int, default=2000, help="of samples")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(0)
    posterior = posterior_of_a_decay(key)
    sampler = {"blackjax": blackjax_samples, "numpyro": numpyro_samples}[options.sampler]
    vectors = sampler(posterior.vector_log_density, posterior.size, key, options.count)
    logarithms = jax.vmap(lambda vector: posterior.model_at(vector)["rate"].raw)(vectors)
    normal = posterior.predict(lambda m: m["rate"].raw)
    rows = {
        f"by {options.sampler}": (logarithms.mean(), logarithms.std()),
        "normal approximation": (normal.mean, normal.standard_deviation),
        "by quadrature": by_quadrature(posterior),
    }
    print("logarithm of the rate")
    for name, (mean, deviation) in rows.items():
        print(f"{name:<22} mean {mean:7.3f}, standard deviation {deviation:.3f}")


if __name__ == "__main__":
    main()
