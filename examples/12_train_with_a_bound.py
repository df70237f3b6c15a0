"""Train with a bound.

A network that `firenet train` makes has a proven Lipschitz constant, whatever its weights become.
Ten seconds of training on three simulated slices are far too short for a good network, and enough
to see that the constant is kept.
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
# Scans are simulated of three slices, and of another one to choose which weights are kept. The
# constant may be 4 at most.
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
# The file of the weights stands where a preset stands. The certificate proves its constant again,
# and `jacobian=True` finds how much is reached at these data.
scan = firenet_mri.read("sample_data/brain_3slices.h5", slices="1")
result = firenet_mri.reconstruct(scan, weights=Path("net.safetensors"), jacobian=True)
certificate = result.certificate
print(f"proven, over all data: {certificate.lipschitz_bound:.2f}")
print(certificate.jacobian_statement)

# %%
# The network was trained on this slice, so the picture is no test of quality.
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
