// From maps as bytes to heat on a canvas. Axes as in the program: F frames, T words, Gy x Gx cells.

const HEAT_SIDE = 480; // pixels of a canvas' longer side: the browser enlarges it smoothly
const DIMMED = 128; // opacity of the black over what the CNN does not see

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The maps of a view as its bytes say them: uint8 for the heat, and raw ones of 16 bits.
async function unpacked(about, base64) {
  const bytes = await inflated(bytesOf(base64)), n = about.shape.reduce((a, b) => a * b, 1);
  return { about, maps: bytes.subarray(0, n), raw: new Uint16Array(bytes.slice(n).buffer) };
}

// One map [Gy, Gx] of a view.
function mapOf({ about }, values, frame, word) {
  const [, nWords, height, width] = about.shape, n = height * width, start = (frame * nWords + word) * n;
  return values.subarray(start, start + n);
}

// In nats, at a cell.
function rawAt(view, frame, word, cell) {
  const { low, high } = view.about;
  return low[word] + (mapOf(view, view.raw, frame, word)[cell] / 65535) * (high[word] - low[word]);
}

// Where each of n pixels lies among the cells of a side that covers [start, stop) of it: the centre of every cell keeps
// its place (vision/geometry.py, enlarge).
function places(nCells, start, stop, n) {
  const found = { low: new Int32Array(n), high: new Int32Array(n), share: new Float32Array(n), inside: new Uint8Array(n) };
  for (let k = 0; k < n; k++) {
    const pixel = (k + 0.5) / n;
    const at = Math.min(Math.max(((pixel - start) / (stop - start)) * nCells - 0.5, 0), nCells - 1);
    found.low[k] = Math.min(Math.floor(at), Math.max(nCells - 2, 0));
    found.high[k] = Math.min(found.low[k] + 1, nCells - 1);
    found.share[k] = at - found.low[k];
    found.inside[k] = pixel >= start && pixel < stop;
  }
  return found;
}

// A canvas for the heat of maps [Gy, Gx] over the box (top, left, bottom, right), in shares of a picture.
class Heat {
  constructor(canvas, [width, height], [top, left, bottom, right], [gridHeight, gridWidth]) {
    const scale = HEAT_SIDE / Math.max(width, height);
    canvas.width = Math.max(Math.round(width * scale), 1);
    canvas.height = Math.max(Math.round(height * scale), 1);
    this.brush = canvas.getContext("2d");
    this.image = this.brush.createImageData(canvas.width, canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.rows = places(gridHeight, top, bottom, canvas.height);
    this.columns = places(gridWidth, left, right, canvas.width);
    this.line = new Float32Array(gridWidth);
  }

  // Draw values [Gy, Gx] of 0 to 255, each pixel in one of 256 colours (null: only dim what the CNN does not see).
  draw(values, palette) {
    const { rows, columns, line, pixels } = this, width = columns.low.length, gridWidth = line.length;
    const outside = new Uint32Array(new Uint8Array([0, 0, 0, DIMMED]).buffer)[0];
    for (let y = 0, at = 0; y < rows.low.length; y++) {
      const upper = rows.low[y] * gridWidth, lower = rows.high[y] * gridWidth, below = rows.share[y];
      for (let k = 0; values && k < gridWidth; k++) line[k] = values[upper + k] * (1 - below) + values[lower + k] * below;
      for (let x = 0; x < width; x++, at++) {
        if (!rows.inside[y] || !columns.inside[x]) pixels[at] = outside;
        else if (!values) pixels[at] = 0;
        else {
          const right = columns.share[x];
          pixels[at] = palette[(line[columns.low[x]] * (1 - right) + line[columns.high[x]] * right + 0.5) | 0];
        }
      }
    }
    this.brush.putImageData(this.image, 0, 0);
  }
}

// 256 colours with their opacity, as pixels of a canvas; colours uint8 [256, 3], strength: of each level, in [0, 1].
function paletteOf(colours, opacity, strength) {
  const bytes = new Uint8Array(4 * 256);
  for (let level = 0; level < 256; level++) {
    bytes.set(colours.subarray(3 * level, 3 * level + 3), 4 * level);
    bytes[4 * level + 3] = Math.round(255 * opacity * strength(level));
  }
  return new Uint32Array(bytes.buffer);
}
