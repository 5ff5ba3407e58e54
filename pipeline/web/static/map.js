// The map: its state is in the URL, what is under the pointer is shown, a lasso lists items.
import { Plane, drawStamp } from "./map-plane.js";
import { follow } from "./map-pointer.js";

const root = document.body.dataset.root;
const map = document.getElementById("map");
const [points, marks] = ["points", "marks"].map((id) => document.getElementById(id));
const preview = map.querySelector(".preview");
const selected = document.getElementById("selected");
const figures = document.getElementById("figures");
const lassoButton = document.getElementById("lasso");
const [stored, centred] = map.querySelectorAll("[name=vectors]");
const most = Number(map.dataset.mostCards);
const MOST_CORNERS = 60; // of a lasso in the URL
const still = matchMedia("(prefers-reduced-motion: reduce)");
const format = (number) => number.toLocaleString("en");

let data, plane;
let lasso = []; // x and y in turn, on the map
let over = -1; // the point under the pointer

const asked = async (path) => {
  const answer = await fetch(root + path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
};
const tell = (error) => {
  figures.textContent = error.message;
  figures.classList.add("wrong");
};

// The state in the URL.
const hidden = () => data.modalities.filter((_, n) => !plane.kinds[n].shown).map((one) => one.name);
const remember = (steps = false) => {
  const query = new URLSearchParams();
  if (centred.checked) query.set("vectors", "centred");
  hidden().forEach((name) => query.append("without", name));
  const { x, y, zoom } = plane.view;
  if (x || y || zoom !== 1) query.set("view", [x, y, zoom * 100].map(Math.round).join("_"));
  if (lasso.length) query.set("lasso", lasso.map(Math.round).join("_"));
  const url = `${location.pathname}${query.size ? `?${query}` : ""}`;
  if (steps) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
};
let soon = 0;
const rememberSoon = () => {
  clearTimeout(soon);
  soon = setTimeout(remember, 250);
};
const numbers = (text) => (text ?? "").split("_").map(Number).filter(Number.isFinite);
const recall = () => {
  const query = new URLSearchParams(location.search);
  const isCentred = query.get("vectors") === "centred";
  (isCentred ? centred : stored).checked = true;
  plane.share = isCentred ? 1 : 0;
  points.dataset.state = isCentred ? "centred" : "stored";
  data.modalities.forEach((one, n) => {
    plane.kinds[n].shown = !query.getAll("without").includes(one.name);
  });
  const [x, y, zoom] = numbers(query.get("view"));
  if (zoom) plane.look(x, y, zoom / 100);
  else plane.look(0, 0, 1);
  const corners = query.get("lasso") ? numbers(query.get("lasso")) : [];
  lasso = corners.length >= 6 && corners.length % 2 === 0 ? corners.slice(0, 2 * MOST_CORNERS) : [];
  legend();
  list();
};

// What stands around the points.
const legend = () => {
  const kinds = map.querySelector(".kinds");
  kinds.querySelectorAll("label").forEach((label) => label.remove());
  data.modalities.forEach((one, n) => {
    const box = Object.assign(document.createElement("input"), {
      type: "checkbox", checked: plane.kinds[n].shown,
    });
    box.addEventListener("change", () => {
      plane.kinds[n].shown = box.checked;
      plane.redraw();
      list();
      remember();
    });
    const sign = document.createElement("canvas");
    sign.setAttribute("aria-hidden", "true");
    drawStamp(sign, one.place);
    const label = document.createElement("label");
    label.append(box, sign, `${one.name} `);
    label.append(Object.assign(document.createElement("span"), { textContent: format(one.items) }));
    kinds.append(label);
  });
};
const say = () => {
  const sum = (key) => data.modalities.reduce((total, one) => total + one[key], 0);
  const share = Math.round(100 * data.explained[centred.checked ? 1 : 0]);
  const parts = [`${format(sum("items"))} items`];
  if (sum("shown") < sum("items")) {
    parts[0] = `${format(sum("shown"))} of ${parts[0]}, chosen by chance`;
  }
  parts.push(`the axes hold ${share} % of the variance`);
  if (data.gap !== null) {
    const most = data.modalities.length > 2 ? "up to " : "";
    parts.push(centred.checked
      ? "the means fall together"
      : `the means of modalities lie ${most}${data.gap.toFixed(2)} apart`);
  }
  figures.textContent = `${parts.join("; ")}.`;
};
// A line that is seen on points and beside them.
const edged = (context) => {
  const page = getComputedStyle(document.body);
  context.lineJoin = "round";
  for (const [width, colour] of [[6, page.backgroundColor], [2.5, page.color]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
};
const mark = () => {
  marks.hidden = over < 0 && !lasso.length; // a layer less, where there is no graphics card
  if (marks.hidden) return;
  const context = marks.getContext("2d");
  if (marks.width !== points.width || marks.height !== points.height) {
    [marks.width, marks.height] = [points.width, points.height];
  }
  context.setTransform(plane.ratio, 0, 0, plane.ratio, 0, 0);
  context.clearRect(0, 0, plane.width, plane.height);
  if (lasso.length) {
    context.beginPath();
    for (let n = 0; n < lasso.length; n += 2) {
      context.lineTo(...plane.toScreen(lasso[n], lasso[n + 1]));
    }
    context.closePath();
    edged(context);
  }
  if (over >= 0) {
    context.beginPath();
    context.arc(...plane.toScreen(plane.xOf(over), plane.yOf(over)), plane.radius + 4, 0, 7);
    edged(context);
  }
};

// Cards of items, as a page of results has them.
const cards = async (found) => {
  const query = new URLSearchParams(found.map((point) => ["id", data.ids[point]]));
  return (await asked(`/map/cards?${query}`)).text();
};
const known = new Map();
const cardOf = (point) => {
  if (!known.has(point)) {
    const card = cards([point]);
    card.catch(() => known.delete(point));
    known.set(point, card);
  }
  return known.get(point);
};
let pause = 0;
const hover = (point, x, y) => {
  points.classList.toggle("on-item", point >= 0);
  if (point === over) return;
  over = point;
  mark();
  clearTimeout(pause);
  preview.hidden = true;
  if (point < 0) return;
  pause = setTimeout(async () => {
    try {
      const html = await cardOf(point);
      if (point !== over) return;
      preview.innerHTML = html;
      preview.hidden = false;
      const [wide, high] = [preview.offsetWidth, preview.offsetHeight];
      const left = x + 20 + wide > plane.width ? x - 20 - wide : x + 20;
      preview.style.left = `${Math.max(Math.min(left, plane.width - wide), 0)}px`;
      preview.style.top = `${Math.max(Math.min(y + 20, plane.height - high), 0)}px`;
    } catch (error) {
      tell(error);
    }
  }, 60);
};

const list = async () => {
  mark();
  selected.hidden = !lasso.length;
  if (!lasso.length) return;
  const found = plane.inside(lasso);
  const counts = data.modalities.map((one, n) => {
    const count = found.filter((point) => plane.of[point] === n).length;
    return count ? `${format(count)} ${one.name}` : "";
  });
  selected.querySelector("h2").textContent =
    `${format(found.length)} ${found.length === 1 ? "item" : "items"} in the lasso`;
  const cut = found.length > most ? `. The first ${most} are shown; enclose fewer to see others.` : "";
  selected.querySelector("p").textContent = `${counts.filter(Boolean).join(", ")}${cut}`;
  const grid = selected.querySelector(".grid");
  const of = lasso;
  try {
    const html = found.length ? await cards(found.slice(0, most)) : "";
    if (of === lasso) grid.innerHTML = html;
  } catch (error) {
    tell(error);
  }
};
const enclose = (corners) => {
  const each = Math.ceil(corners.length / 2 / MOST_CORNERS);
  lasso = corners.filter((_, n) => Math.floor(n / 2) % each === 0).map(Math.round);
  if (lasso.length < 6) lasso = [];
  remember(true);
  list();
  if (lasso.length) selected.querySelector("h2").scrollIntoView({ block: "nearest" });
};
const encloseView = () => {
  const { width, height } = plane;
  const corners = [[0, 0], [width, 0], [width, height], [0, height]];
  return enclose(corners.flatMap(([x, y]) => plane.toMap(x, y)));
};

// From one picture to the other, so that one sees which way the points go.
const change = (to) => {
  const from = plane.share;
  const begun = performance.now();
  const step = () => {
    const done = still.matches ? 1 : Math.min((performance.now() - begun) / 600, 1);
    if (centred.checked !== (to === 1)) return; // changed again meanwhile
    plane.share = from + (to - from) * done * done * (3 - 2 * done);
    plane.redraw();
    points.dataset.state = done < 1 ? "moving" : to ? "centred" : "stored";
    if (done < 1) requestAnimationFrame(step);
  };
  step();
  say();
};

const open = (point) => location.assign(`${root}/items/${data.ids[point]}`);
const KEYS = {
  ArrowLeft: () => plane.pan(60, 0),
  ArrowRight: () => plane.pan(-60, 0),
  ArrowUp: () => plane.pan(0, 60),
  ArrowDown: () => plane.pan(0, -60),
  "+": () => plane.zoomAt(1.4, plane.width / 2, plane.height / 2),
  "-": () => plane.zoomAt(1 / 1.4, plane.width / 2, plane.height / 2),
  Enter: encloseView,
  Escape: () => enclose([]),
};
const key = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  event.stopPropagation();
  KEYS[event.key]();
  rememberSoon();
};

const listen = () => {
  follow(points, plane, {
    isLasso: () => lassoButton.getAttribute("aria-pressed") === "true",
    hovered: hover,
    drawn: (corners) => {
      lasso = corners;
      mark();
    },
    enclosed: (corners) => {
      lassoButton.setAttribute("aria-pressed", "false");
      enclose(corners);
    },
    moved: rememberSoon,
    clicked: open,
  });
  points.addEventListener("keydown", key);
  for (const radio of [stored, centred]) {
    radio.addEventListener("change", () => {
      lasso = []; // it encloses others now
      list();
      remember(true);
      change(centred.checked ? 1 : 0);
    });
  }
  lassoButton.addEventListener("click", () => {
    const on = lassoButton.getAttribute("aria-pressed") !== "true";
    lassoButton.setAttribute("aria-pressed", String(on));
  });
  document.getElementById("in-view").addEventListener("click", encloseView);
  document.getElementById("whole").addEventListener("click", () => {
    plane.look(0, 0, 1);
    enclose([]);
  });
  addEventListener("popstate", () => {
    recall();
    say();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    legend();
    plane.redraw();
  });
  new ResizeObserver(() => plane.resize()).observe(points);
};

const begin = async () => {
  document.getElementById("not-drawn").hidden = true;
  map.hidden = false;
  try {
    data = await (await asked("/map/points")).json();
  } catch (error) {
    return tell(error);
  }
  plane = new Plane(points, data);
  plane.drawn = mark;
  plane.resize();
  listen();
  recall();
  say();
};
begin();
