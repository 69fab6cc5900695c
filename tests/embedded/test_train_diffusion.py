import pytest
import torch

from xpaste_ray.embedded.train.diffusion import sampling_schedule, training_schedule


def test_sampler_undoes_the_noise_that_the_training_adds():
    """With the training's exact target in place of a network, sampling ends at the clean latents."""
    training, sampler = training_schedule(), sampling_schedule()
    sampler.set_timesteps(20)
    draws = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 4, 16, 16, generator=draws) for _ in range(2))
    sample = noise
    for time in sampler.timesteps:
        kept = training.alphas_cumprod[time]
        noise_left = (sample - kept.sqrt() * clean) / (1 - kept).sqrt()
        target = training.get_velocity(clean, noise_left, time[None])
        sample = sampler.step(target, time, sample).prev_sample
    torch.testing.assert_close(sample, clean, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("time", "signal"), [(0, 0.9996), (500, 0.4909), (999, 0.0)])
def test_training_input_holds_the_signal_of_its_time(time, signal):
    noisy = training_schedule().add_noise(torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([time]))
    assert float(noisy) == pytest.approx(signal, abs=1e-4)
