"""Read a certificate.

A certificate is a list of entries. Each has a statement and says how it is known: proven, verified
on this scan, measured, or assumed. This example lists them and shows how the proven duality gap
closes as layers are added.
"""

# %%
import matplotlib.pyplot as plt

import firenet_mri

scan = firenet_mri.read("sample_data/brain_8coil.h5")
certificate = firenet_mri.reconstruct(scan).certificate
for entry in certificate.entries:
    print(f"{entry.status:22} {entry.name}")

# %%
# The numbers are attributes with one value per slice; None means that a number is not known.
print(f"objective            {certificate.objective[0]:.4f}")
print(f"proven lower bound   {certificate.lower_bound[0]:.4f}")
print(f"proven stability     {certificate.lipschitz_bound:.1f} times, over all data")
print(f"without a unit       {certificate.percent_per_percent[0]:.0f} % for 1 % of the data")

# %%
# The smallest possible objective lies between the two numbers, which approach each other as layers
# are added.
depths = (2, 5, 10, 20, 30, 40, 50)
gaps = [firenet_mri.reconstruct(scan, layers=depth).certificate.relative_gap for depth in depths]
figure, axis = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
axis.semilogy(depths, [100 * gap[0] for gap in gaps], "o-")
axis.set(xlabel="layers", ylabel="gap in % of the objective", title="At most so far from optimal")
axis.grid(alpha=0.3)
plt.show()

# %%
# A certificate also lists what it does not cover.
print(certificate.scope)
