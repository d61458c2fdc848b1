/** Drawn shapes whose every property is a label: kind, colour, position, size, rotation. */
import { type Random, random, type Tensor, tensor } from "../../runtime/index.js";
import { type LabelledImages, labelTensor, requireWhole } from "./labelled.js";

/** The kinds, in the order of their labels. */
export const shapeKinds = ["circle", "square", "triangle", "star"] as const;

export type ShapeImages = LabelledImages & {
  /** float32 [rows, 3]: red, green, blue, the largest of them 1. */
  readonly colour: Tensor<"float32">;
  /** float32 [rows, 2]: the centre's x (to the right) and y (down), in pixels from the upper left corner. */
  readonly position: Tensor<"float32">;
  /** float32 [rows]: the distance from the centre to the corners, in pixels. */
  readonly radius: Tensor<"float32">;
  /** float32 [rows]: clockwise, in radians from 0 to 2 pi; a circle has one too, which nobody can see. */
  readonly rotation: Tensor<"float32">;
};

type Point = readonly [number, number];

/** Corners of each kind on and within the unit circle; a circle has none. */
const corners: readonly (readonly Point[])[] = [[], regular(4), regular(3), star(5, 0.45)];

function regular(count: number): Point[] {
  return Array.from({ length: count }, (_, i) => onCircle(i / count, 1));
}

function star(points: number, inner: number): Point[] {
  return Array.from({ length: 2 * points }, (_, i) => onCircle(i / (2 * points), i % 2 === 0 ? 1 : inner));
}

/** A point at a part of a turn, from the top on. */
function onCircle(turn: number, radius: number): Point {
  return [radius * Math.sin(2 * Math.PI * turn), -radius * Math.cos(2 * Math.PI * turn)];
}

/**
 * Pictures of one shape each on black, smooth at the edges and wholly inside: x float32 [count, 3, size, size]. A row
 * depends on the seed and its number alone.
 */
export function shapes({ count, size = 32, seed = 0 }: { count: number; size?: number; seed?: number }): ShapeImages {
  requireWhole("shapes", { count });
  requireWhole("shapes", { size }, 8);
  const plane = size * size;
  const x = new Float32Array(count * 3 * plane);
  const rows = Array.from({ length: count }, (_, row) => drawn(random(seed, row), size));
  for (const [row, shape] of rows.entries())
    for (let i = 0; i < plane; i++) {
      const cover = coverage(shape, (i % size) + 0.5, Math.floor(i / size) + 0.5);
      for (let c = 0; c < 3; c++) x[(row * 3 + c) * plane + i] = cover * (shape.colour[c] as number);
    }
  const column = (width: number[], of: (shape: Shape) => readonly number[]) =>
    tensor("float32", [count, ...width], Float32Array.from(rows.flatMap(of)));
  return {
    x: tensor("float32", [count, 3, size, size], x),
    label: labelTensor(rows.map(({ kind }) => kind)),
    colour: column([3], ({ colour }) => colour),
    position: column([2], ({ position }) => position),
    radius: column([], ({ radius }) => [radius]),
    rotation: column([], ({ rotation }) => [rotation]),
  };
}

interface Shape {
  readonly kind: number;
  readonly colour: readonly number[];
  readonly position: Point;
  readonly radius: number;
  readonly rotation: number;
  /** The corners in pixels. */
  readonly polygon: readonly Point[];
}

function drawn(draw: Random, size: number): Shape {
  const kind = draw.integer(shapeKinds.length);
  const raw = [0.1 + draw.uniform(), 0.1 + draw.uniform(), 0.1 + draw.uniform()];
  const brightest = Math.max(...raw);
  const radius = size * (0.15 + 0.2 * draw.uniform());
  const place = () => radius + 1 + (size - 2 * radius - 2) * draw.uniform();
  const position: Point = [place(), place()];
  const rotation = 2 * Math.PI * draw.uniform();
  const [cos, sin] = [radius * Math.cos(rotation), radius * Math.sin(rotation)];
  const polygon = (corners[kind] as readonly Point[]).map(
    ([px, py]): Point => [position[0] + cos * px - sin * py, position[1] + sin * px + cos * py],
  );
  return { kind, colour: raw.map((part) => part / brightest), position, radius, rotation, polygon };
}

/** How much of a pixel about (x, y) is covered, from its distance to the edge: half where the edge passes through it. */
function coverage({ position, radius, polygon }: Shape, x: number, y: number): number {
  const fromCentre = Math.hypot(x - position[0], y - position[1]);
  if (fromCentre > radius + 1) return 0;
  const inside = polygon.length === 0 ? radius - fromCentre : depth(polygon, x, y);
  return Math.min(Math.max(inside + 0.5, 0), 1);
}

/** The distance to a polygon's edge, negative outside. */
function depth(polygon: readonly Point[], x: number, y: number): number {
  let nearest = Number.POSITIVE_INFINITY;
  let inside = false;
  let [fromX, fromY] = polygon.at(-1) as Point;
  for (const [toX, toY] of polygon) {
    const [alongX, alongY] = [toX - fromX, toY - fromY];
    const share = ((x - fromX) * alongX + (y - fromY) * alongY) / (alongX ** 2 + alongY ** 2);
    const part = Math.min(Math.max(share, 0), 1);
    nearest = Math.min(nearest, Math.hypot(x - fromX - part * alongX, y - fromY - part * alongY));
    // A line to the right crosses the edges an odd number of times from inside.
    if (fromY > y !== toY > y && x < fromX + ((y - fromY) / alongY) * alongX) inside = !inside;
    [fromX, fromY] = [toX, toY];
  }
  return inside ? nearest : -nearest;
}
