/**
 * Thousands of points, pixel by pixel: a canvas takes ten times as long to copy or fill as many shapes.
 * @module chart-stamps
 */

// So far from a point, in pixels, it is meant.
const REACH_PX = 14;
// No less than the largest stamp.
const MARGIN_PX = 12;

const STAMPS = {
  circles: { size: 5, alpha: 0.65, outline: (path, size) => path.arc(size / 2, size / 2, size / 2, 0, 2 * Math.PI) },
  diamonds: { size: 10, alpha: 1, outline: (path, size) => polygon(path, size, [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]) },
  triangles: { size: 11, alpha: 1, outline: (path, size) => polygon(path, size, [0.5, 0], [1, 1], [0, 1]) },
  crosses: {
    size: 9,
    alpha: 1,
    outline: (path, size) =>
      polygon(path, size, [0.2, 0], [0.5, 0.3], [0.8, 0], [1, 0.2], [0.7, 0.5], [1, 0.8], [0.8, 1], [0.5, 0.7], [0.2, 1], [0, 0.8], [0.3, 0.5], [0, 0.2]),
  },
};

/**
 * @param {string} look of a series
 * @returns {boolean} whether it is one of points
 */
export function isStamp(look) {
  return look in STAMPS;
}

/** Draws the points of one chart. */
export class Stamps {
  constructor() {
    this._layer = document.createElement("canvas");
    this._context = this._layer.getContext("2d", { willReadFrequently: true });
    this._image = new ImageData(1, 1);
    this._ink = new Uint8Array(0);
    this._colours = new Map();
  }

  /**
   * Draw points where the axes are now.
   * @param {object} plot the library's chart
   * @param {string} look which stamp
   * @param {string} colour
   * @param {(number | null)[]} y null: there is none
   */
  draw(plot, look, colour, y) {
    const [from, until] = plot.series[0].idxs;
    const [left, top, width, height] = ["left", "top", "width", "height"].map((name) => Math.round(plot.bbox[name]));
    if (!width || !height || from === null) {
      return;
    }
    const stamp = stampOf(look);
    const placeX = placing(plot.scales.x, width);
    const placeY = placing(plot.scales.y, height);
    // A point on an edge is seen as a whole. The same for all stamps, so that one image does for all of them.
    const margin = Math.ceil(MARGIN_PX * devicePixelRatio);
    const area = { width: width + 2 * margin, height: height + 2 * margin };
    const ink = this._emptyInk(area);
    const [xs] = plot.data;
    let [highest, lowest] = [Infinity, -Infinity];
    for (let place = from; place <= until; place += 1) {
      if (y[place] !== null) {
        const [across, down] = [placeX(xs[place]), height - placeY(y[place])];
        if (across >= 0 && across <= width && down >= 0 && down <= height) {
          press(ink, area, stamp, across + margin, down + margin);
          highest = Math.min(highest, down);
          lowest = Math.max(lowest, down);
        }
      }
    }
    if (highest <= lowest) {
      const rows = { first: Math.floor(highest), end: Math.ceil(lowest) + 2 * margin };
      this._paint(ink, area, rows, this._opaque(colour));
      const across = [area.width, rows.end - rows.first];
      plot.ctx.drawImage(this._layer, 0, rows.first, ...across, left - margin, top - margin + rows.first, ...across);
    }
  }

  /** How much colour each pixel has: none yet. */
  _emptyInk({ width, height }) {
    if (this._ink.length !== width * height) {
      this._ink = new Uint8Array(width * height);
    }
    return this._ink.fill(0);
  }

  /** A pixel of a colour, however that is written. */
  _opaque(colour) {
    if (!this._colours.has(colour)) {
      this._context.fillStyle = colour;
      this._context.fillRect(0, 0, 1, 1);
      this._colours.set(colour, new Uint32Array(this._context.getImageData(0, 0, 1, 1).data.buffer)[0]);
    }
    return this._colours.get(colour);
  }

  /** Only rows with points: those of one kind often lie together. */
  _paint(ink, { width, height }, { first, end }, opaque) {
    if (width !== this._image.width || height !== this._image.height) {
      this._image = new ImageData(width, height);
      Object.assign(this._layer, { width, height });
    }
    const pixels = new Uint32Array(this._image.data.buffer);
    // Whatever browsers run on has the lowest byte first, so that the last one of four, the opacity, is the highest.
    const bare = opaque & 0xffffff;
    for (let pixel = first * width; pixel < end * width; pixel += 1) {
      pixels[pixel] = ink[pixel] && bare | (ink[pixel] << 24);
    }
    this._context.putImageData(this._image, 0, 0, 0, first, width, end - first);
  }
}

/** From values to pixels, as the library does it, without asking it thousands of times. */
function placing({ min, max, distr }, length) {
  if (distr !== 3) {
    const scale = length / (max - min);
    return (value) => (value - min) * scale;
  }
  const [bottom, top] = [Math.log10(min), Math.log10(max)];
  const scale = length / (top - bottom);
  return (value) => (Math.log10(value) - bottom) * scale;
}

/** Press a stamp around a place; the more there are upon each other, the more colour. */
function press(ink, { width }, { size, alphas }, x, y) {
  let pixel = Math.round(y - size / 2) * width + Math.round(x - size / 2);
  for (let row = 0, from = 0; row < size; row += 1, pixel += width - size) {
    for (let column = 0; column < size; column += 1, from += 1, pixel += 1) {
      ink[pixel] += ((255 - ink[pixel]) * alphas[from] + 255) >> 8;
    }
  }
}

const made = new Map();

/** How much colour each pixel of a stamp has on this screen. */
function stampOf(look) {
  const key = `${look} ${devicePixelRatio}`;
  if (!made.has(key)) {
    const { size, alpha, outline } = STAMPS[look];
    const side = Math.ceil(size * devicePixelRatio);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    context.globalAlpha = alpha;
    context.beginPath();
    outline(context, size);
    context.fill();
    const { data } = context.getImageData(0, 0, side, side);
    made.set(key, { size: side, alphas: data.filter((_, byte) => byte % 4 === 3) });
  }
  return made.get(key);
}

function polygon(path, size, ...corners) {
  corners.forEach(([x, y]) => path.lineTo(x * size, y * size));
}

/**
 * The point that the pointer means.
 * @param {object} plot the library's chart
 * @param {import("./charts.js").Series[]} series
 * @returns {{place: number, x: number, y: number} | null} which one, and where it is in pixels of the plot
 */
export function nearestPoint(plot, series) {
  const { left, top } = plot.cursor;
  const [x] = plot.data;
  const latest = plot.posToVal(left + REACH_PX, "x");
  let found = null;
  let distance = REACH_PX;
  for (let place = firstFrom(x, plot.posToVal(left - REACH_PX, "x")); place < x.length && x[place] <= latest; place += 1) {
    for (const { y } of series) {
      if (y[place] !== null) {
        const spot = { place, x: plot.valToPos(x[place], "x"), y: plot.valToPos(y[place], "y") };
        const away = Math.hypot(spot.x - left, spot.y - top);
        if (away <= distance) {
          distance = away;
          found = spot;
        }
      }
    }
  }
  return found;
}

/** The first place of a value that is not smaller. */
function firstFrom(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
