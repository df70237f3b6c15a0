"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const say = (text) => { at("place").textContent = text; };
  try {
    const viewer = new niivue.Niivue({
      backColor: [0.06, 0.075, 0.08, 1],
      crosshairColor: [0.36, 0.77, 0.8, 1],
      crosshairWidth: 0.7,
      show3Dcrosshair: true,
      multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
      isRadiologicalConvention: true,
      onLocationChange: (place) => say(place.string),
    });
    await viewer.attachToCanvas(at("canvas"));
    await viewer.loadVolumes([{ url: "/volume.nii.gz", colormap: "gray" }]);
    const views = {
      multi: viewer.sliceTypeMultiplanar,
      axial: viewer.sliceTypeAxial,
      coronal: viewer.sliceTypeCoronal,
      sagittal: viewer.sliceTypeSagittal,
      render: viewer.sliceTypeRender,
    };
    const show = () => viewer.setSliceType(views[at("view").value]);
    at("view").addEventListener("input", show);
    at("interpolation").addEventListener("input", (event) => {
      viewer.setInterpolation(!event.target.checked);
    });
    show();
    document.body.dataset.state = "shown";
    say("Click or drag to move the crosshair; the wheel goes through the slices.");
  } catch (error) {
    document.body.dataset.state = "failed";
    say(`The volume cannot be shown: ${error.message}. The viewer needs WebGL 2.`);
  }
})();
