// The first half of the editor's script: how the skeleton looks; Gradio gives `element`, `props`, `server` and so on

const { joints, parts, swaps, limbs, colors, standing, most_bytes } = props;
const FACE = new Set(parts.head.slice(1));
const ZOOM = 2.5;
const find = (selector) => element.querySelector(selector);
const svg = find("svg"), stage = find(".stage"), status = find(".status"), readout = find(".readout");
const input = find("input"), button = (name) => find(`[data-do="${name}"]`);
const past = [], future = [];
let pose, picture = null, selected = -1, drag = null, zoomed = false, corner = [0, 0];

function make(kind, name, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
  if (name) node.setAttribute("class", name);
  parent.append(node);
  return node;
}

function set(node, values) {
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
}

const paper = make("rect", "paper", svg), photo = make("image", "", svg);
photo.setAttribute("preserveAspectRatio", "none");
const lines = ["halo", "limb"].map((name) => limbs.map((_, at) => {
  const line = make("line", name, svg);
  if (name === "limb") line.style.stroke = colors[at];
  return line;
}));
const dots = joints.map((_, at) => {
  const group = make("g", "joint", svg);
  for (const name of ["hit", "under", "ring", "dot"]) make("circle", name, group);
  group.lastChild.style.fill = colors[at];
  set(group, { tabindex: 0, role: "button", "aria-roledescription": "joint" });
  group.addEventListener("focus", () => select(at));
  group.addEventListener("keydown", (event) => pressed(event, at));
  return group;
});
const toggles = Object.entries(parts).map(([name, members]) => {
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.textContent = name;
  toggle.addEventListener("click", () => {
    const shown = members.some((at) => pose.points[at][2]);
    change(() => members.forEach((at) => { pose.points[at][2] = shown ? 0 : 1; }));
    say(`${name} ${shown ? "hidden" : "shown"}`);
  });
  find(".parts").append(toggle);
  return [toggle, members];
});

function draw() {
  const { width, height, points } = pose;
  const share = zoomed ? 1 / ZOOM : 1, [x, y] = points[selected < 0 ? 0 : selected];
  if (!zoomed) corner = [0, 0];
  else if (!drag) corner = [x - width * share / 2, y - height * share / 2];  // what is dragged moves, not the picture
  set(svg, { viewBox: `${corner[0]} ${corner[1]} ${width * share} ${height * share}` });
  svg.style.aspectRatio = `${width} / ${height}`;
  set(paper, { width, height });
  set(photo, { width, height });
  photo.style.display = picture ? "" : "none";
  paper.style.display = picture ? "none" : "";
  const unit = 1 / (svg.getScreenCTM()?.a || 1);  // picture's pixels in a pixel of the screen
  for (const row of lines) limbs.forEach(([first, second], at) => {
    const [a, b] = [points[first], points[second]];
    set(row[at], { x1: a[0], y1: a[1], x2: b[0], y2: b[1] });
    row[at].style.display = a[2] && b[2] ? "" : "none";
  });
  dots.forEach((group, at) => {
    const [px, py, known] = points[at];
    const radii = { hit: 14, under: 11, ring: 11, dot: FACE.has(at) ? 4 : 6 };
    for (const circle of group.children) set(circle, { cx: px, cy: py, r: radii[circle.getAttribute("class")] * unit });
    group.classList.toggle("gone", !known);
    group.classList.toggle("selected", at === selected);
    const place = known ? `x ${Math.round(px)}, y ${Math.round(py)}` : "hidden";
    group.setAttribute("aria-label", `${joints[at]}, ${place}`);
  });
  readout.textContent = selected < 0 ? "" : dots[selected].getAttribute("aria-label");
  drawButtons();
}

function drawButtons() {
  button("undo").disabled = !past.length;
  button("redo").disabled = !future.length;
  button("zoom").setAttribute("aria-pressed", zoomed);
  for (const [toggle, members] of toggles) toggle.setAttribute("aria-pressed", members.some((at) => pose.points[at][2]));
  const chips = joints.flatMap((name, at) => pose.points[at][2] ? [] : [[name, at]]).map(([name, at]) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = `+ ${name}`;
    chip.setAttribute("aria-label", `Bring back ${name}`);
    chip.addEventListener("click", () => { show(at, 1); dots[at].focus({ preventScroll: true }); });
    return chip;
  });
  if (selected >= 0 && pose.points[selected][2]) chips.unshift(hideChip());
  find(".hidden-joints").replaceChildren(...chips);
}

function hideChip() {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = `Hide ${joints[selected]}`;
  chip.className = "hide";
  chip.addEventListener("click", () => { show(selected, 0); dots[selected].focus({ preventScroll: true }); });
  return chip;
}

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

function select(at) {
  if (selected === at) return;
  selected = at;
  draw();
}
