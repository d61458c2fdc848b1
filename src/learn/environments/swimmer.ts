/**
 * A swimmer: a chain of rigid links in a viscous fluid, without inertia, moved by torques at its joints. Resistive-force
 * theory (Gray & Hancock 1955): a link resists motion across itself more than along itself, and that makes swimming possible.
 */
import { failure } from "../../errors.js";
import { type Environment, environmentOf, requireWhole } from "./environment.js";
import { symmetricSolve } from "./symmetricSolve.js";

export interface SwimmerOptions {
  /** Links of the chain, at least 2; 6 unless given. */
  readonly links?: number;
  /** Drag along a link, for each unit of length; 1 unless given. */
  readonly dragAlong?: number;
  /** Drag across it; 10 unless given. */
  readonly dragAcross?: number;
  /** Torque of an action of 1; 1 unless given. */
  readonly gain?: number;
  /** Spring of a joint towards straight; 1 unless given. */
  readonly stiffness?: number;
  /** Drag of a joint's own turning; 0.05 unless given. */
  readonly damping?: number;
  /** Angle from which a joint is pushed back, in radians; 1.75 unless given. */
  readonly jointLimit?: number;
  /** Seconds of a step; 0.03 unless given. */
  readonly seconds?: number;
  /** Euler steps within it; 6 unless given. */
  readonly substeps?: number;
  /** Steps in which the clock that is seen goes round; 60 unless given. */
  readonly clockSteps?: number;
  /** Steps of an episode; 400 unless given. */
  readonly limit?: number;
}

type Body = Required<SwimmerOptions>;

/** How hard a joint beyond its limit is pushed back, for each radian. */
const limitStiffness = 20;

/**
 * A planar swimmer of N links of length l = 1 / N (the body has length 1). Its coordinates are q = (x, y of the head, angle
 * of the first link, N - 1 joint angles); the body trails behind its head. With J_i the Jacobian of the centre of link i, w_i
 * that of its angle, t_i and n_i the directions along and across it,
 *
 *     D(q) = sum over i of l (along J_i' t_i t_i' J_i + across J_i' n_i n_i' J_i) + across l^3 / 12 w_i w_i'  (+ damping of joints)
 *     D(q) q' = Q(q),  Q of a joint = gain a - stiffness phi - 20 max(|phi| - limit, 0) sign(phi),  Q of the rest = 0
 *
 * by explicit Euler steps. The reward of a step is how far the centre of mass went along the mean direction of the body, in
 * lengths of the body. Episodes start with joint angles from -0.1 to 0.1 and are cut off after `limit` steps; none ends of
 * its own. No inertia, no contact, nothing random but the start.
 *
 * Seen are the joint angles over their limit, then sine and cosine of a clock: [N + 1].
 *
 * @throws in a step whose numbers stop being finite: more substeps, or less gain, are needed
 */
export function swimmer(options: SwimmerOptions = {}): Environment {
  const body: Body = { ...defaults, ...options };
  const { links, limit, seconds, substeps, jointLimit, clockSteps } = body;
  requireWhole("swimmer: links", links, 2);
  requireWhole("swimmer: substeps", substeps, 1);
  const joints = links - 1;
  const width = links + 2;
  const infinite = Number.POSITIVE_INFINITY;
  const bounds = (joint: number, clock: number) => [...new Array<number>(joints).fill(joint), clock, clock];
  return environmentOf({
    name: "swimmer",
    observation: { shape: [joints + 2], low: bounds(-infinite, -1), high: bounds(infinite, 1) },
    actions: { kind: "continuous", size: joints, low: -1, high: 1 },
    limit,
    columns: { body: width, time: 1 },
    begin({ body: column, time }, row, random) {
      const own = (column as Float64Array).subarray(row * width, (row + 1) * width).fill(0);
      for (let i = 3; i < width; i++) own[i] = 0.2 * random.uniform() - 0.1;
      (time as Float64Array)[row] = 0;
    },
    move({ body: column, time }, row, torques) {
      const own = (column as Float64Array).subarray(row * width, (row + 1) * width);
      const before = poseOf(own, links);
      for (let k = 0; k < substeps; k++) euler(own, torques, body, seconds / substeps);
      const after = poseOf(own, links);
      const [dx, dy] = [after.x - before.x, after.y - before.y];
      const reward = (dx * before.forwardX + dy * before.forwardY) / before.size;
      if (!Number.isFinite(reward))
        throw failure(`swimmer: the body left the finite numbers in episode ${row}: use more substeps or less gain`);
      (time as Float64Array)[row] = ((time as Float64Array)[row] as number) + 1;
      return { reward, terminated: false };
    },
    see({ body: column, time }, row, into) {
      for (let i = 0; i < joints; i++) into[i] = ((column as Float64Array)[row * width + 3 + i] as number) / jointLimit;
      const turn = (2 * Math.PI * ((time as Float64Array)[row] as number)) / clockSteps;
      into.set([Math.sin(turn), Math.cos(turn)], joints);
    },
  });
}

const defaults: Body = {
  links: 6,
  dragAlong: 1,
  dragAcross: 10,
  gain: 1,
  stiffness: 1,
  damping: 0.05,
  jointLimit: 1.75,
  seconds: 0.03,
  substeps: 6,
  clockSteps: 60,
  limit: 400,
};

/** The centre of mass, and the sum of the links' directions with its size. */
function poseOf(q: Float64Array, links: number) {
  const length = 1 / links;
  let [x, y, angle] = q as unknown as [number, number, number];
  let [sumX, sumY, forwardX, forwardY] = [0, 0, 0, 0];
  for (let i = 0; i < links; i++) {
    if (i > 0) angle += q[2 + i] as number;
    const [alongX, alongY] = [Math.cos(angle), Math.sin(angle)];
    sumX += x - (length / 2) * alongX;
    sumY += y - (length / 2) * alongY;
    x -= length * alongX;
    y -= length * alongY;
    forwardX += alongX;
    forwardY += alongY;
  }
  return { x: sumX / links, y: sumY / links, forwardX, forwardY, size: Math.hypot(forwardX, forwardY) };
}

/** One Euler step of `dt` seconds, in place. */
function euler(q: Float64Array, torques: Float64Array, body: Body, dt: number): void {
  const { gain, stiffness, jointLimit } = body;
  const forces = new Float64Array(q.length);
  for (let i = 3; i < q.length; i++) {
    const angle = q[i] as number;
    const beyond = Math.max(Math.abs(angle) - jointLimit, 0) * Math.sign(angle);
    forces[i] = gain * (torques[i - 3] as number) - stiffness * angle - limitStiffness * beyond;
  }
  const speeds = symmetricSolve(dragOf(q, body), forces);
  for (let i = 0; i < q.length; i++) q[i] = (q[i] as number) + dt * (speeds[i] as number);
}

/** D(q), [n, n] row-major; only the lower triangle is filled. */
function dragOf(q: Float64Array, { links, dragAlong, dragAcross, damping }: Body): Float64Array {
  const size = q.length;
  const length = 1 / links;
  const drag = new Float64Array(size * size);
  // How the near end of the current link moves with each coordinate; a coordinate turns every link behind it.
  const [endX, endY] = [new Float64Array(size), new Float64Array(size)];
  const [along, across] = [new Float64Array(size), new Float64Array(size)];
  [endX[0], endY[1]] = [1, 1];
  let angle = 0;
  for (let i = 0; i < links; i++) {
    angle += q[2 + i] as number;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const used = 3 + i;
    for (let k = 0; k < used; k++) {
      const turning = k < 2 ? 0 : length; // the link lies behind the joint: its centre moves against its normal
      const [x, y] = [endX[k] as number, endY[k] as number];
      along[k] = x * cos + y * sin;
      across[k] = y * cos - x * sin - turning / 2;
      endX[k] = x + turning * sin;
      endY[k] = y - turning * cos;
    }
    const spin = (dragAcross * length ** 3) / 12;
    for (let k = 0; k < used; k++) {
      for (let m = 0; m <= k; m++) {
        const shift = dragAlong * (along[k] as number) * (along[m] as number);
        const sweep = dragAcross * (across[k] as number) * (across[m] as number);
        const own = length * (shift + sweep) + (m >= 2 ? spin : 0);
        drag[k * size + m] = (drag[k * size + m] as number) + own;
      }
    }
  }
  for (let i = 3; i < size; i++) drag[i * size + i] = (drag[i * size + i] as number) + damping;
  return drag;
}
