"""The fused photometric loss against torch, dual numbers and itself."""

from __future__ import annotations

import math

import pytest
import torch

from recon.ops import photometric as module
from recon.ops.photometric import examples, photometric, photometric_gradient, psnr, reference, ssim, ssim_map

FLOAT = list(examples())
DOUBLE = list(examples(torch.float64))


@pytest.fixture(scope="module", autouse=True)
def _torch_on_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # many tiny convolutions: waiting for threads would take longer than the work
    yield
    torch.set_num_threads(before)


_cache = {}


def _reference_gradient(example):
    if id(example) not in _cache:
        _cache[id(example)] = _compute_reference_gradient(example)
    return _cache[id(example)]


def _compute_reference_gradient(example):
    image = example["image"].double().clone().requires_grad_()
    target = example["target"]
    target = target.double() / 255 if target.dtype == torch.uint8 else target.double()
    loss = reference(**example | {"image": image, "target": target})
    loss.backward()
    return loss.detach(), image.grad


def test_examples_have_gradients_everywhere():
    for example in DOUBLE:
        gradient = _reference_gradient(example)[1]
        counted = example.get("mask", torch.ones_like(gradient[0], dtype=torch.uint8)) != 0
        assert (gradient[:, counted] != 0).float().mean() > 0.99
        assert (gradient[:, ~counted] == 0).all()


@pytest.mark.parametrize("example", DOUBLE)
def test_double_matches_reference(example):
    want, want_gradient = _reference_gradient(example)
    image = example["image"].clone().requires_grad_()
    loss = photometric(**example | {"image": image}, check=True)
    (2.5 * loss).backward()
    assert abs(loss - want) <= 1e-12
    assert (image.grad - 2.5 * want_gradient).norm() <= 1e-10 * want_gradient.norm()


@pytest.mark.parametrize("example", FLOAT)
def test_float_matches_reference(example, kernels):
    want, want_gradient = _reference_gradient(example)
    gradient = torch.full_like(example["image"], 7.0)  # every pixel must be written
    weight = example.get("ssim_weight", 0.2)
    loss = kernels.photometric(example["image"], example["target"], example.get("mask"), gradient, None, weight)[0]
    assert loss == pytest.approx(float(want), rel=2e-6, abs=2e-7)
    error = gradient.double() - want_gradient
    assert error.norm() <= 2e-6 * want_gradient.norm()
    assert error.abs().max() <= 2e-5 * want_gradient.abs().max()
    assert abs(error.mean()) <= 1e-6 * want_gradient.abs().mean()  # no bias


@pytest.mark.parametrize("example", FLOAT)
def test_autograd_scales_the_gradient(example):
    image = example["image"].clone().requires_grad_()
    loss = photometric(**example | {"image": image})
    value, gradient = photometric_gradient(**example)
    assert float(loss.detach()) == pytest.approx(value, rel=1e-7)
    loss.backward(retain_graph=True)
    assert torch.equal(image.grad, gradient)
    image.grad = None
    loss.backward(torch.tensor(-3.0))
    torch.testing.assert_close(image.grad, -3 * gradient)
    assert float(photometric(**example)) == float(loss.detach())  # the same without a gradient


def test_derivative_matches_dual_numbers(kernels):
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 4000, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    weights /= weights.sum(1, keepdim=True)
    moments = torch.stack([(weights * v).sum(1) for v in (x, y, x * x + y * y, x * y)], 1)
    by_hand, by_dual = torch.zeros_like(moments), torch.zeros_like(moments)
    kernels.ssim_derivatives(moments, by_hand, by_dual)
    assert by_dual[:, 1:].abs().min(0).values.max() > 0
    assert ((by_hand - by_dual).abs() <= 1e-10 * by_dual.abs().clamp(min=1)).all()
    assert by_dual[:, 0].abs().max() <= 1


def test_gradient_matches_central_differences():
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 9, 12, generator=generator, dtype=torch.float64)
    target = torch.rand(1, 9, 12, generator=generator, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x: photometric(x, target, check=True), image.requires_grad_(), eps=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [(7, 9), (64, 64), (70, 1100)])
def test_threads_give_the_same_bits(size, threads, kernels):
    generator = torch.Generator().manual_seed(3)
    image, target = torch.rand(2, 3, *size, generator=generator)
    results = []
    for n in (1, 2, 3):
        threads(n)
        gradient = torch.empty_like(image)
        results.append((kernels.photometric(image, target, None, gradient, None, 0.2), gradient))
    for values, gradient in results[1:]:
        assert values == results[0][0]
        assert torch.equal(gradient, results[0][1])


def test_ignored_pixels_do_not_matter():
    example = next(e for e in FLOAT if "mask" in e and e["image"].shape[1:] == (33, 49))
    target = torch.rand_like(example["image"])
    ignored = example["mask"] == 0
    a = photometric_gradient(example["image"], target, mask=example["mask"])
    broken_image, broken_target = example["image"].clone(), target.clone()
    broken_image[:, ignored] = math.nan
    broken_target[:, ignored] = 1e30
    b = photometric_gradient(broken_image, broken_target, mask=example["mask"])
    assert a[0] == b[0]
    assert torch.equal(a[1], b[1])
    assert (a[1][:, ignored] == 0).all()


def test_nothing_counted_is_no_loss():
    image = torch.rand(3, 20, 20)
    loss, gradient = photometric_gradient(image, torch.rand(3, 20, 20), mask=torch.zeros(20, 20, dtype=torch.uint8))
    assert loss == 0
    assert (gradient == 0).all()


def test_nan_stays_visible():
    image = torch.rand(3, 40, 40)
    image[1, 20, 20] = math.nan
    assert math.isnan(photometric_gradient(image, torch.rand(3, 40, 40))[0])


def test_metrics():
    generator = torch.Generator().manual_seed(4)
    image, target = torch.rand(2, 3, 37, 61, generator=generator)
    want = module.reference_ssim_map(image.double(), target.double())
    torch.testing.assert_close(ssim_map(image, target).double(), want, rtol=0, atol=1e-5)
    assert ssim(image, target) == pytest.approx(float(want.mean()), abs=1e-6)
    assert ssim(image, image) == pytest.approx(1, abs=1e-6)
    assert psnr(image, image) == math.inf
    assert psnr(image.mul(255).round().div(255), image.mul(255).round().to(torch.uint8)) == math.inf
    assert psnr(torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.1)) == pytest.approx(20, abs=1e-5)
    mask = torch.zeros(37, 61, dtype=torch.uint8)
    mask[3, 4] = 1
    assert psnr(image, target, mask=mask) == pytest.approx(
        -10 * math.log10(float((image - target)[:, 3, 4].square().mean())), abs=1e-4)


def test_far_values_stay_finite():
    image = torch.rand(3, 20, 20) * 1e8
    loss, gradient = photometric_gradient(image, torch.rand(3, 20, 20))
    assert math.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"image": torch.rand(3, 8, 8, dtype=torch.float64)}, TypeError, "image must be float32, got float64"),
    ({"image": torch.rand(3, 8, 16)[..., ::2]}, ValueError, "image must be contiguous"),
    ({"image": torch.rand(8, 8)}, ValueError, r"image must be \[channels, height, width\]"),
    ({"image": torch.rand(3, 0, 8)}, ValueError, "image must not be empty"),
    ({"target": torch.rand(3, 8, 9)}, ValueError, r"target must be \[3, 8, 8\], got \[3, 8, 9\]"),
    ({"target": torch.rand(3, 8, 8).half()}, TypeError, "target must be uint8 or float32"),
    ({"target": torch.rand(8, 3, 8).transpose(0, 1)}, ValueError, "target must be contiguous"),
    ({"mask": torch.ones(8, 8)}, TypeError, "mask must be uint8"),
    ({"mask": torch.ones(8, 7, dtype=torch.uint8)}, ValueError, r"mask must be \[8, 8\]"),
    ({"ssim_weight": 1.5}, ValueError, "ssim_weight"),
    ({"ssim_weight": math.nan}, ValueError, "ssim_weight"),
])
def test_bad_arguments_are_named(change, error, words):
    with pytest.raises(error, match=words):
        photometric(**{"image": torch.rand(3, 8, 8), "target": torch.rand(3, 8, 8)} | change)


def test_kernels_never_convert(kernels):
    image, target = torch.rand(2, 3, 8, 8)
    for bad in (torch.empty(3, 8, 8, dtype=torch.float64), torch.empty(3, 8, 16)[..., ::2]):
        with pytest.raises(TypeError):
            kernels.photometric(image, target, None, bad, None, 0.2)
