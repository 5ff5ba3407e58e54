// Draws points: each pixel of its stamp is set in an image that is put onto the canvas at once, so
// that 100,000 of them take some milliseconds without a graphics card.
const MARGIN = 24; // pixels around the whole map
const CLOSEST = 200; // times
const DIAGONAL = Math.SQRT1_2;

// Of a shape of half width 1, whether a place is in it. Modalities are told by these as well.
const SHAPES = [
  (x, y) => x * x + y * y <= 1,
  (x, y) => y <= 0.8 && y >= 2 * Math.abs(x) - 1.1,
  (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.85,
  (x, y) => Math.abs(x) + Math.abs(y) <= 1.15,
  (x, y) => Math.min(Math.abs(x), Math.abs(y)) <= 0.3 && Math.max(Math.abs(x), Math.abs(y)) <= 1,
  (x, y) => y >= -0.8 && -y >= 2 * Math.abs(x) - 1.1,
  (x, y) => {
    const [a, b] = [Math.abs(x + y) * DIAGONAL, Math.abs(x - y) * DIAGONAL];
    return Math.min(a, b) <= 0.3 && Math.max(a, b) <= 1.1;
  },
  (x, y) => x * x + y * y <= 1.1 && x * x + y * y >= 0.35,
];

const kindOf = (place) => place % SHAPES.length;

// The places of a stamp's pixels, x and y in turn; with an edge, those around it as well.
const stamp = (place, radius, edge = 0) => {
  const inside = SHAPES[kindOf(place)];
  const reach = Math.ceil(radius + edge);
  const found = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const scale = radius + 0.25 + edge;
      if (inside(x / scale, y / scale)) found.push(x, y);
    }
  }
  return found;
};

// A colour of CSS as a pixel of ImageData read as one number.
const brush = document.createElement("canvas").getContext("2d");
const pixelOf = (colour) => {
  brush.fillStyle = colour; // read back as #rrggbb
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(brush.fillStyle.slice(at, at + 2), 16));
  return new Uint32Array(new Uint8ClampedArray([r, g, b, 255]).buffer)[0];
};

const styled = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
const colourOf = (place) => styled(`--point-${kindOf(place)}`);

export const drawStamp = (canvas, place) => {
  const side = (canvas.width = canvas.height = 18);
  const context = canvas.getContext("2d");
  context.fillStyle = colourOf(place);
  const pixels = stamp(place, 7);
  for (let at = 0; at < pixels.length; at += 2) {
    context.fillRect(side / 2 + pixels[at], side / 2 + pixels[at + 1], 1, 1);
  }
};

export class Plane {
  // data: as /map/points has it. share: 0 as stored, 1 centred, between them on the way.
  constructor(canvas, data) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.before = Float32Array.from(data.before);
    this.after = Float32Array.from(data.after);
    this.of = Uint8Array.from(data.of);
    this.kinds = data.modalities.map((one) => ({ place: one.place, shown: true }));
    this.share = 0;
    this.view = { x: 0, y: 0, zoom: 1 }; // the middle in coordinates of the map
    this.waits = false;
  }

  get count() {
    return this.of.length;
  }

  // Pixels of the screen for one of the map.
  get scale() {
    const least = Math.min(this.width, this.height);
    return (this.view.zoom * (least - 2 * MARGIN)) / 65_534;
  }

  resize() {
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.max(1, Math.round(this.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(this.height * this.ratio));
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.redraw();
  }

  redraw() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.draw();
    });
  }

  xOf(point) {
    const at = 2 * point;
    return this.before[at] + (this.after[at] - this.before[at]) * this.share;
  }

  yOf(point) {
    const at = 2 * point + 1;
    return this.before[at] + (this.after[at] - this.before[at]) * this.share;
  }

  isShown(point) {
    return this.kinds[this.of[point]].shown;
  }

  // From the map to the screen and back; up on the map is up on the screen.
  toScreen(x, y) {
    const { scale, view } = this;
    return [this.width / 2 + (x - view.x) * scale, this.height / 2 - (y - view.y) * scale];
  }

  toMap(x, y) {
    const { scale, view } = this;
    return [view.x + (x - this.width / 2) / scale, view.y - (y - this.height / 2) / scale];
  }

  pan(x, y) {
    this.look(this.view.x - x / this.scale, this.view.y + y / this.scale, this.view.zoom);
  }

  // The place of the screen stays where it is.
  zoomAt(times, x, y) {
    const [before, above] = this.toMap(x, y);
    this.view.zoom = Math.min(Math.max(this.view.zoom * times, 0.5), CLOSEST);
    const [after, below] = this.toMap(x, y);
    this.look(this.view.x + before - after, this.view.y + above - below, this.view.zoom);
  }

  look(x, y, zoom) {
    const kept = (value) => Math.min(Math.max(value, -32_767), 32_767);
    this.view = { x: kept(x), y: kept(y), zoom: Math.min(Math.max(zoom, 0.5), CLOSEST) };
    this.redraw();
  }

  // Half the width of a point in pixels of the screen: many are small, and grow as one zooms.
  get radius() {
    const first = this.count > 30_000 ? 1.5 : this.count > 3_000 ? 2.5 : 4;
    return Math.min(first * Math.sqrt(Math.max(this.view.zoom, 1)), 7);
  }

  draw() {
    const { width, height } = this.canvas;
    const { before, after, of, pixels, share, kinds } = this;
    const radius = this.radius * this.ratio;
    const edge = radius >= 4 ? 1 : 0; // in the colour of the page, so that points stay apart
    const ground = pixelOf(styled("--card"));
    const flat = (places) => Int32Array.from({ length: places.length / 2 }, (_, n) => (
      places[2 * n + 1] * width + places[2 * n]
    ));
    const stamps = kinds.map(({ place, shown }) => shown && {
      inner: flat(stamp(place, radius)),
      outer: flat(edge ? stamp(place, radius, edge) : []),
      colour: pixelOf(colourOf(place)),
    });
    const reach = Math.ceil(radius + edge) + 1;
    const scale = this.scale * this.ratio;
    const [left, top] = [width / 2 - this.view.x * scale, height / 2 + this.view.y * scale];
    pixels.fill(ground);
    for (let point = 0; point < of.length; point++) {
      const chosen = stamps[of[point]];
      if (!chosen) continue;
      const at = 2 * point;
      const x = Math.round(left + (before[at] + (after[at] - before[at]) * share) * scale);
      const y = Math.round(top - (before[at + 1] + (after[at + 1] - before[at + 1]) * share) * scale);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      const middle = y * width + x;
      const { inner, outer, colour } = chosen;
      for (let n = 0; n < outer.length; n++) pixels[middle + outer[n]] = ground;
      for (let n = 0; n < inner.length; n++) pixels[middle + inner[n]] = colour;
    }
    this.context.putImageData(this.image, 0, 0);
    this.drawn?.();
  }

  // The point nearest to a place of the screen, within so many pixels; -1: there is none.
  nearest(x, y, within) {
    let [best, least] = [-1, (within / this.scale) ** 2];
    const [a, b] = this.toMap(x, y);
    for (let point = 0; point < this.count; point++) {
      const far = (this.xOf(point) - a) ** 2 + (this.yOf(point) - b) ** 2;
      if (far <= least && this.isShown(point)) [best, least] = [point, far];
    }
    return best;
  }

  // The points in a polygon of x and y in turn, by how often a ray from each crosses its sides.
  inside(polygon) {
    const found = [];
    for (let point = 0; point < this.count; point++) {
      if (!this.isShown(point)) continue;
      const [x, y] = [this.xOf(point), this.yOf(point)];
      let isIn = false;
      for (let n = 0, m = polygon.length - 2; n < polygon.length; m = n, n += 2) {
        const [x1, y1, x2, y2] = [polygon[n], polygon[n + 1], polygon[m], polygon[m + 1]];
        if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) isIn = !isIn;
      }
      if (isIn) found.push(point);
    }
    return found;
  }
}
