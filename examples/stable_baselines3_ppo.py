"""A pole is balanced with Stable-Baselines3: episodes, losses, evaluations, the best model; and films of it."""

import os
import tempfile
from importlib.util import find_spec

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env

from tracker.integrations.stable_baselines3 import TrackerCallback


def filmed(folder: str) -> gymnasium.Env:
    """Answer an environment that films each 40th episode; the callback finds what is filmed."""
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=200)
    return gymnasium.wrappers.RecordVideo(
        env, os.path.join(folder, "films"), episode_trigger=lambda number: number % 40 == 0
    )


def main() -> None:
    """Train, evaluated twice on the way."""
    with tempfile.TemporaryDirectory() as folder:
        can_film = find_spec("moviepy") is not None and find_spec("pygame") is not None
        env = filmed(folder) if can_film else gymnasium.make("CartPole-v1", max_episode_steps=200)
        evaluate = EvalCallback(
            make_vec_env("CartPole-v1"), eval_freq=2048, n_eval_episodes=3, best_model_save_path=folder, verbose=0
        )
        model = PPO("MlpPolicy", env, n_steps=512, batch_size=128, n_epochs=4, learning_rate=1e-3, seed=0, device="cpu")
        model.learn(4096, callback=[evaluate, TrackerCallback(project="cartpole", tags=["ppo"])])
        env.close()


if __name__ == "__main__":
    main()
