"""A small network learns a wave with JAX, Flax and optax; TrackerWriter writes what happens, and waits for nothing."""

import jax
import jax.numpy as jnp
import optax
from flax import linen

from tracker.integrations.flax import TrackerWriter

STEPS = 300


class Network(linen.Module):
    """Two layers."""

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Answer (batch, 1) for (batch, 1)."""
        return linen.Dense(1)(linen.tanh(linen.Dense(self.width)(x)))


def main() -> None:
    """Train, and write the loss and the norm of the gradients at each step."""
    model = Network(width=32)
    x = jnp.linspace(-3, 3, 128)[:, None]
    y = jnp.sin(2 * x)
    parameters = model.init(jax.random.key(0), x)
    schedule = optax.cosine_decay_schedule(1e-2, STEPS)
    optimizer = optax.adam(schedule)
    state = optimizer.init(parameters)

    @jax.jit
    def train(parameters, state):
        loss, gradients = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, x) - y) ** 2))(parameters)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(parameters, updates), state, loss, optax.global_norm(gradients)

    with TrackerWriter(project="waves") as writer:
        writer.write_hparams({"width": model.width, "steps": STEPS})
        for step in range(1, STEPS + 1):
            parameters, state, loss, norm = train(parameters, state)
            writer.write_scalars(
                step, {"train/loss": loss, "train/gradient_norm": norm, "learning_rate": schedule(step)}
            )
        writer.write_histograms(STEPS, {"weights": parameters["params"]["Dense_0"]["kernel"]})


if __name__ == "__main__":
    main()
