/**
 * Cart-pole: a pole stands on a cart, which is pushed left or right (Barto, Sutton & Anderson 1983), with the equations and
 * limits of Gymnasium's CartPole-v1.
 */
import { type Environment, environmentOf } from "./environment.js";

const gravity = 9.8;
const massCart = 1;
const massPole = 0.1;
const massTotal = massCart + massPole;
/** Half the pole. */
const length = 0.5;
const force = 10;
const seconds = 0.02;
const farthest = 2.4;
const steepest = (12 * 2 * Math.PI) / 360;

/**
 * Cart-pole. The state is [x, x', theta, theta'], in metres and radians, each from -0.05 to 0.05 at the start; action 0
 * pushes with -10 newton, 1 with 10. With f the force, m the pole's mass, M the total mass, l half the pole:
 *
 *     u       = (f + m l theta'^2 sin(theta)) / M
 *     theta'' = (g sin(theta) - u cos(theta)) / (l (4/3 - m cos(theta)^2 / M))
 *     x''     = u - m l theta'' cos(theta) / M
 *
 * by Euler steps of 0.02 seconds, positions first. Every step rewards 1. An episode ends beyond 2.4 metres or 12 degrees,
 * and is cut off after `limit` steps (500 unless given).
 */
export function cartPole({ limit = 500 }: { readonly limit?: number } = {}): Environment {
  const bounds = [2 * farthest, Number.POSITIVE_INFINITY, 2 * steepest, Number.POSITIVE_INFINITY];
  return environmentOf({
    name: "cart-pole",
    observation: { shape: [4], low: bounds.map((x) => -x), high: bounds },
    actions: { kind: "discrete", count: 2 },
    limit,
    columns: { state: 4 },
    begin({ state }, row, random) {
      for (let i = 0; i < 4; i++) (state as Float64Array)[4 * row + i] = 0.1 * random.uniform() - 0.05;
    },
    move({ state }, row, [action]) {
      const own = (state as Float64Array).subarray(4 * row, 4 * row + 4);
      push(own, action === 1 ? force : -force);
      const [x, , angle] = own as unknown as [number, number, number, number];
      return { reward: 1, terminated: Math.abs(x) > farthest || Math.abs(angle) > steepest };
    },
    see({ state }, row, into) {
      into.set((state as Float64Array).subarray(4 * row, 4 * row + 4));
    },
  });
}

function push(state: Float64Array, pushed: number): void {
  const [x, speed, angle, turning] = state as unknown as [number, number, number, number];
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const shared = (pushed + massPole * length * turning ** 2 * sin) / massTotal;
  const turn = (gravity * sin - cos * shared) / (length * (4 / 3 - (massPole * cos ** 2) / massTotal));
  const pull = shared - (massPole * length * turn * cos) / massTotal;
  state.set([x + seconds * speed, speed + seconds * pull, angle + seconds * turning, turning + seconds * turn]);
}
