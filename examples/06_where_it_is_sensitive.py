"""Find the change that is amplified most.

The Lipschitz bound holds for all data and is therefore cautious. `jacobian=True` examines this
scan: it searches for the small change of the data that changes the image most, and computes an
upper bound for the effect of any small change.
"""

# %%
import matplotlib.pyplot as plt

import firenet_mri

scan = firenet_mri.read("sample_data/brain_3slices.h5", slices="1")
result = firenet_mri.reconstruct(scan, preset="stable", jacobian=True)
print(result.certificate.jacobian_statement)
print(f"Over all data the proven bound is {result.certificate.lipschitz_bound:.1f}.")

# %%
# The picture on the right shows the effect of that one change on the image.
figure, axes = plt.subplots(1, 2, figsize=(6, 3.9), layout="constrained")
pictures = {"image": (result.image, "gray"), "most amplified change": (result.sensitive, "magma")}
for axis, (title, (image, colours)) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].abs().T.numpy(), cmap=colours)
    axis.set_title(title)
    axis.axis("off")
plt.show()
