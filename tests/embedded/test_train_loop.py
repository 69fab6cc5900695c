import contextlib

import torch

from xpaste_ray.embedded.train.loop import TrainOptions, train


def _train(work_dir, steps, total=40):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)

    def loss_of_step(step):
        if step >= steps:
            raise KeyboardInterrupt
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(inputs).squeeze() - inputs.sum(1)).square().mean()

    options = TrainOptions(steps=total, learning_rate=0.1, ema_decay=0.5, warmup_steps=2, checkpoint_every=10)
    return train("line", model, loss_of_step, options, work_dir).state_dict()


def test_killed_training_ends_where_an_undisturbed_one_does(tmp_path):
    whole = _train(tmp_path / "whole", steps=40)
    with contextlib.suppress(KeyboardInterrupt):
        _train(tmp_path / "killed", steps=27)
    resumed = _train(tmp_path / "killed", steps=40)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_training_learns(tmp_path):
    assert torch.allclose(_train(tmp_path, steps=40)["weight"], torch.ones(1, 3), atol=0.2)
