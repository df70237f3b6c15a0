// The slider between two methods. DATA: scene -> method -> image; START: the methods shown first.
const element = (id) => document.getElementById(id);
const fill = (select, names, chosen) => {
  for (const name of names) {
    const option = document.createElement("option");
    option.textContent = name;
    option.selected = name === chosen;
    select.append(option);
  }
};
const slide = () => {
  element("b").style.clipPath = `inset(0 0 0 ${element("slider").value}%)`;
};
const show = () => {
  const images = DATA[element("scene").value];
  element("a").src = images[element("left").value] || "";
  element("b").src = images[element("right").value] || "";
  slide();
};
fill(element("scene"), Object.keys(DATA));
const names = Object.keys(Object.values(DATA)[0]);
fill(element("left"), names, START.left);
fill(element("right"), names, START.right);
for (const id of ["scene", "left", "right"]) element(id).onchange = show;
element("slider").oninput = slide;
element("zoom").onchange = () => element("view").classList.toggle("zoomed", element("zoom").checked);
show();
