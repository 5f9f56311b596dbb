// The second half: what the skeleton is, what can be done with it, by which keys and pointers

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MOST_UNDONE = 100, GROWTH = 1.05;

const copy = (state) => ({ ...state, points: state.points.map((point) => [...point]) });

// Joints that were never placed are put beside the others, as in a person who stands
function complete(state) {
  const known = state.points.flatMap((point, at) => point[2] ? [at] : []);
  const middle = (rows) => [0, 1].map((axis) => rows.reduce((sum, row) => sum + row[axis], 0) / (rows.length || 1));
  const extent = (rows, [x, y]) => Math.sqrt(rows.reduce((sum, row) => sum + (row[0] - x) ** 2 + (row[1] - y) ** 2, 0));
  const here = known.map((at) => state.points[at]), there = known.map((at) => standing[at]);
  const from = known.length ? middle(there) : [88, 128];  // the middle of the picture in which it stands
  const to = known.length ? middle(here) : [state.width / 2, state.height / 2];
  const fit = Math.min(state.width / 176, state.height / 256);
  const scale = known.length > 1 ? extent(here, to) / extent(there, from) : fit;
  state.points.forEach((point, at) => {
    if (point[2] || point[0] !== -1 || point[1] !== -1) return;
    [0, 1].forEach((axis) => { point[axis] = to[axis] + (standing[at][axis] - from[axis]) * scale; });
  });
  return state;
}

function read(value) {
  const isWhole = value && value.width > 0 && value.height > 0 && value.points?.length === joints.length;
  const state = isWhole ? value : { width: 176, height: 256, points: joints.map(() => [-1, -1, 0]) };
  return complete(copy({ width: state.width, height: state.height, points: state.points }));
}

// Only what this server sent, or sends: a picture from elsewhere would tell its owner of the visit
function ours(address) {
  if (typeof address !== "string" || !address) return null;
  if (/^data:image\/(png|jpeg|webp);base64,/.test(address)) return address;
  return new URL(address, location.href).origin === location.origin ? address : null;
}

function receive() {
  const before = pose, shown = picture;
  [pose, picture] = [read(props.value), ours(props.value?.picture)];
  if (picture) photo.setAttribute("href", picture); else photo.removeAttribute("href");
  if (!before || shown !== picture) {
    past.length = 0;
    selected = -1;
  } else remember(before);
  future.length = 0;
  drag = null;
  say("");
  draw();
}

function remember(before) {
  past.push(before);
  if (past.length > MOST_UNDONE) past.shift();
}

function send() {
  const points = pose.points.map(([x, y, known]) => [+x.toFixed(2), +y.toFixed(2), known]);
  props.value = { picture: props.value?.picture ?? null, width: pose.width, height: pose.height, points };
  trigger("input");
}

function change(act) {
  const before = copy(pose);
  act();
  remember(before);
  future.length = 0;
  draw();
  send();
}

function back(from, to, word) {
  if (!from.length) return;
  to.push(copy(pose));
  pose = from.pop();
  say(word);
  draw();
  send();
}

// ---- what can be done

function show(at, known) {
  if (pose.points[at][2] === known) return;
  change(() => { pose.points[at][2] = known; });
  say(`${joints[at]} ${known ? "shown" : "hidden"}`);
}

const clamp = (value, most) => Math.min(Math.max(value, 0), most - 1);

function put(at, x, y) {
  pose.points[at][0] = clamp(x, pose.width);
  pose.points[at][1] = clamp(y, pose.height);
}

const shift = (x, y) => pose.points.forEach((point) => { point[0] += x; point[1] += y; });

function scale(factor) {
  const known = pose.points.filter((point) => point[2]);
  if (!known.length) return;
  const [x, y] = [0, 1].map((axis) => {
    const along = known.map((point) => point[axis]);
    return (Math.min(...along) + Math.max(...along)) / 2;
  });
  pose.points.forEach((point) => { point[0] = x + (point[0] - x) * factor; point[1] = y + (point[1] - y) * factor; });
}

function mirror() {
  for (const [left, right] of swaps) [pose.points[left], pose.points[right]] = [pose.points[right], pose.points[left]];
  pose.points.forEach((point) => { point[0] = pose.width - 1 - point[0]; });
}

async function load(file) {
  if (!file) return;
  if (file.size > most_bytes) return say(`${file.name}: ${file.size} bytes, expected the points of one person`, true);
  const size = picture ? [pose.width, pose.height] : null;
  const answer = await server.load_pose({ text: await file.text(), size });
  if (answer.error) return say(`${file.name}: ${answer.error}`, true);
  change(() => { pose = read(answer); });
  say(`${file.name} is loaded`);
}

async function save() {
  const answer = await server.save_pose({ ...pose, picture: null });
  if (answer.error) return say(answer.error, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([answer.text], { type: "application/json" }));
  link.download = "pose.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say("Saved as pose.json");
}

const far = () => Math.max(1, Math.round(pose.height / 64));
const deeds = {
  undo: () => back(past, future, "Undone"),
  redo: () => back(future, past, "Done again"),
  mirror: () => { change(mirror); say("Mirrored"); },
  smaller: () => change(() => scale(1 / GROWTH)),
  larger: () => change(() => scale(GROWTH)),
  left: () => change(() => shift(-far(), 0)),
  right: () => change(() => shift(far(), 0)),
  up: () => change(() => shift(0, -far())),
  down: () => change(() => shift(0, far())),
  zoom: () => { zoomed = !zoomed; draw(); },
  load: () => input.click(),
  save: () => tell(save()),
};
const tell = (promise) => promise.catch((error) => say(String(error.message ?? error), true));
for (const [name, act] of Object.entries(deeds)) button(name).addEventListener("click", act);
input.addEventListener("change", () => { tell(load(input.files[0])); input.value = ""; });

// ---- keys and pointers

function pressed(event, at) {
  const step = STEPS[event.key], far = event.shiftKey ? 10 : 1;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (step) change(() => put(at, pose.points[at][0] + step[0] * far, pose.points[at][1] + step[1] * far));
  else if (event.key === "Delete" || event.key === "Backspace") show(at, 0);
  else if (event.key === "Insert" || event.key.toLowerCase() === "h") show(at, 1);
  else return;
  event.preventDefault();
}

element.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey)) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  deeds[key === "y" || event.shiftKey ? "redo" : "undo"]();
});

function placeOf(event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [place.x, place.y];
}

// The nearest one, not the uppermost: on a phone, the joints of a face lie closer together than a finger is wide
function nearest([x, y], reach) {
  const known = joints.map((_, index) => index).filter((index) => pose.points[index][2]);
  const distance = (index) => Math.hypot(pose.points[index][0] - x, pose.points[index][1] - y);
  const best = known.sort((a, b) => distance(a) - distance(b))[0];
  return best !== undefined && distance(best) <= reach ? best : -1;
}

svg.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button) return;
  event.preventDefault();
  const reach = (event.pointerType === "touch" ? 24 : 14) / svg.getScreenCTM().a, place = placeOf(event);
  const joint = nearest(place, reach);
  drag = { joint, place, before: copy(pose), moved: false };
  svg.setPointerCapture(event.pointerId);
  svg.classList.add("dragging");
  if (joint >= 0) dots[joint].focus({ preventScroll: true });
  else document.activeElement?.blur();
  select(joint);
});
svg.addEventListener("pointermove", (event) => {
  if (!drag || !event.isPrimary) return;
  const place = placeOf(event), [x, y] = [place[0] - drag.place[0], place[1] - drag.place[1]];
  pose = copy(drag.before);
  if (drag.joint >= 0) put(drag.joint, pose.points[drag.joint][0] + x, pose.points[drag.joint][1] + y);
  else shift(x, y);
  drag.moved ||= Math.hypot(x, y) * svg.getScreenCTM().a > 2;
  draw();
});

function drop(keep) {
  svg.classList.remove("dragging");
  if (!drag) return;
  const { before, moved } = drag, after = pose;
  [drag, pose] = [null, before];
  if (keep && moved) change(() => { pose = after; });
  else draw();
}
svg.addEventListener("pointerup", () => drop(true));
svg.addEventListener("pointercancel", () => drop(false));

new ResizeObserver(() => draw()).observe(stage);
watch("value", receive);
receive();
