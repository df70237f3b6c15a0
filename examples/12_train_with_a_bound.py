"""Train with a bound.

A network that `firenet train` makes has a proven Lipschitz constant, whatever its weights become.
Ten seconds of training on three simulated slices are far too short for a good network, but long
enough to see that the bound on the constant is respected.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import firenet_mri
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.training.inputs import gather
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.run import train_network

# %%
# Scans of three slices are simulated for the training, and scans of another slice for choosing the
# best weights. The constant may be at most 4.
options = TrainingOptions(
    bound=4.0, minutes=0.17, stages=6, singles=8, groups=0, sizes=(64,), cases=64
)
data = gather(
    [],
    [Path("sample_data/brain_3slices_reference.nii.gz")],
    [Path("sample_data/brain_8coil_reference.nii.gz")],
    ReadOptions(),
    maps="espirit",
    seed=0,
    simulation=options.simulation,
)
looks = []
trained = train_network(data, options, Path("net.safetensors"), on_look=looks.append)
for line, _ in trained.frozen.remarks():
    print(line)

# %%
# The file of weights replaces a preset. The certificate proves its constant again, and
# `jacobian=True` measures how large the amplification is for these data.
scan = firenet_mri.read("sample_data/brain_3slices.h5", slices="1")
result = firenet_mri.reconstruct(scan, weights=Path("net.safetensors"), jacobian=True)
certificate = result.certificate
print(f"proven, over all data: {certificate.lipschitz_bound:.2f}")
print(certificate.jacobian_statement)

# %%
# The network was trained on this slice, so the picture does not test its quality.
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained")
axes[0].imshow(result.image[0].abs().T.numpy(), cmap="gray")
axes[0].set_title("after ten seconds of training")
axes[0].axis("off")
seconds = [60 * look["minutes"] for look in looks]
axes[1].plot(seconds, [look["bound_estimate"] for look in looks], "o-", label="constant, estimated")
axes[1].axhline(options.bound, color="tab:red", linestyle=":", label="allowed")
axes[1].set(xlabel="seconds of training", ylim=(0, 5))
axes[1].legend(loc="lower right")
plt.show()
