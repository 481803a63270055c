// Draw points of a map, find the one under a pointer or next in a direction, zoom and move. Knows nothing of the page.

import { brush, colour } from "../dom.js";
import { drawShape, inkOf } from "../emotions.js";

const EDGE = 24; // CSS pixels
const REACH = 14; // CSS pixels within which a point is met
const ZOOM = 1.5;
const MANY = 3000; // points from which they are drawn small

export class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = []; // [x, y] from 0 to 1
    this.kinds = [];
    this.shown = new Set(); // kinds
    this.current = -1;
    this.reset();
  }

  reset() {
    this.zoom = 1;
    this.centre = [0.5, 0.5];
  }

  /** Take points of any scale; both axes keep the same. */
  set(points, kinds) {
    const ends = [0, 1].map((axis) => points.reduce(
      ([least, most], point) => [Math.min(least, point[axis]), Math.max(most, point[axis])], [Infinity, -Infinity]));
    const span = Math.max(...ends.map(([least, most]) => most - least)) || 1;
    const middle = ends.map(([least, most]) => (least + most) / 2);
    this.points = points.map((point) => point.map((value, axis) => 0.5 + (value - middle[axis]) / span));
    this.kinds = kinds;
    this.shown = new Set(kinds);
    this.current = -1;
    this.reset();
  }

  /** How points are placed now: a function of a point, made once for all of them, as there may be many. */
  placing() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const side = (Math.min(width, height) - 2 * EDGE) * this.zoom;
    const [x0, y0] = [width / 2 - this.centre[0] * side, height / 2 + this.centre[1] * side];
    return ([x, y]) => [x0 + x * side, y0 - y * side];
  }

  draw() {
    const { context, width, height } = brush(this.canvas);
    const size = this.points.length > MANY ? 2.5 : 5;
    const at = this.placing();
    const order = this.points.map((_, place) => place).filter((place) => this.isShown(place));
    order.sort((one, other) => this.kinds[one] - this.kinds[other]); // one ink after the other
    let kind = null;
    context.globalAlpha = 0.85;
    for (const place of order) {
      const [x, y] = at(this.points[place]);
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      if (this.kinds[place] !== kind) inkOf(context, (kind = this.kinds[place]));
      drawShape(context, kind, x, y, size);
    }
    context.globalAlpha = 1;
    if (this.current < 0) return;
    const [x, y] = at(this.points[this.current]);
    context.strokeStyle = colour("--ink");
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x, y, size + 6, 0, 2 * Math.PI);
    context.stroke();
  }

  isShown(place) {
    return this.shown.has(this.kinds[place]);
  }

  /** The point nearest to a place of the canvas; -1 if none is within reach. */
  nearest(x, y) {
    const at = this.placing();
    let [best, reach] = [-1, REACH];
    this.points.forEach((point, place) => {
      const [px, py] = at(point);
      const far = Math.hypot(px - x, py - y);
      if (far < reach && this.isShown(place)) [best, reach] = [place, far];
    });
    return best;
  }

  /** The next point in a direction: near, and not far aside. From nowhere, that nearest to the centre. */
  next([dx, dy]) {
    const from = this.current < 0 ? this.centre : this.points[this.current];
    let [best, least] = [this.current, Infinity];
    this.points.forEach((point, place) => {
      if (place === this.current || !this.isShown(place)) return;
      const [x, y] = [point[0] - from[0], point[1] - from[1]];
      const [along, aside] = [x * dx + y * dy, Math.abs(x * dy - y * dx)];
      const far = this.current < 0 ? Math.hypot(x, y) : along > 0 && along >= aside / 2 ? along + 2 * aside : Infinity;
      if (far < least) [best, least] = [place, far];
    });
    return best;
  }

  /** Go to a point, and show it where it is out of sight. */
  go(place) {
    this.current = place;
    const { width, height } = this.canvas.getBoundingClientRect();
    const [x, y] = place < 0 ? [1, 1] : this.placing()(this.points[place]);
    if (x < 0 || y < 0 || x > width || y > height) this.centre = [...this.points[place]];
    this.draw();
  }

  /** Zoom in or out about what is current, or else the middle. */
  scale(inwards) {
    this.zoom = Math.min(40, Math.max(1, this.zoom * (inwards ? ZOOM : 1 / ZOOM)));
    if (this.zoom === 1) this.centre = [0.5, 0.5];
    else if (inwards && this.current >= 0) this.centre = [...this.points[this.current]];
    this.draw();
  }

  move(dx, dy) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const side = (Math.min(width, height) - 2 * EDGE) * this.zoom;
    this.centre = [this.centre[0] - dx / side, this.centre[1] + dy / side];
    this.draw();
  }
}
