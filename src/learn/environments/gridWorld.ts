/**
 * A grid world: a map of characters in which an agent walks to a goal around walls and pits (Sutton & Barto, chapter 3). It
 * is small enough to be solved exactly: `gridModel` is the same world as a table for value iteration.
 */
import { usageError } from "../../errors.js";
import type { Random } from "../../runtime/index.js";
import { boundedObservation, type Environment, environmentOf, requireWhole } from "./environment.js";
import type { TabularModel } from "./valueIteration.js";

export interface GridOptions {
  /** Lines of one length: `#` wall, `.` floor, `S` where an episode may start, `G` goal, `O` pit. The open room below unless given. */
  readonly map?: readonly string[];
  /** Reward of every step; -0.01 unless given. */
  readonly stepReward?: number;
  /** Reward of reaching a goal, besides; 1 unless given. */
  readonly goalReward?: number;
  /** Reward of falling into a pit, besides; -1 unless given. */
  readonly pitReward?: number;
  /** How often a step goes in a random direction instead; 0 unless given. */
  readonly slip?: number;
  /** Cells that are seen in each direction; the whole map unless given. */
  readonly view?: number;
  /** Steps after which an episode is cut off; 100 unless given. */
  readonly limit?: number;
}

const room = [
  "#######", //
  "#S....#",
  "#.##O.#",
  "#..#..#",
  "##...G#",
  "#######",
];

/** Rows and columns that up, right, down and left move by. */
const directions = [
  [-1, 0],
  [0, 1],
  [1, 0],
  [0, -1],
] as const;

interface Grid {
  readonly rows: number;
  readonly columns: number;
  /** One character for each cell, row-major. */
  readonly cells: string;
  readonly starts: readonly number[];
  readonly rewards: { readonly step: number; readonly goal: number; readonly pit: number };
  readonly slip: number;
}

/**
 * A grid world. Actions 0 to 3 go up, right, down, left; a wall or the edge of the map stops the agent. Goals and pits end
 * the episode.
 *
 * Seen is the place, as [rows, columns] of zeros with a 1 for the agent's cell; or with `view` the window around the agent,
 * as [2 view + 1, 2 view + 1, 3] with a 1 for wall (or beyond the map), goal, pit.
 *
 * @throws where the map is no rectangle, holds another character, or has no start or no goal
 */
export function gridWorld(options: GridOptions = {}): Environment {
  const grid = gridOf(options);
  const { view, limit = 100 } = options;
  if (view !== undefined) requireWhole("grid world: view", view, 1);
  const side = 2 * (view ?? 0) + 1;
  return environmentOf({
    name: "grid world",
    observation: boundedObservation(view === undefined ? [grid.rows, grid.columns] : [side, side, 3], 0, 1),
    actions: { kind: "discrete", count: directions.length },
    limit,
    columns: { cell: 1 },
    begin({ cell }, row, random) {
      (cell as Float64Array)[row] = grid.starts[random.integer(grid.starts.length)] as number;
    },
    move({ cell }, row, [action], random) {
      const own = cell as Float64Array;
      const direction = grid.slip > 0 ? slipped(action as number, grid.slip, random) : (action as number);
      const next = neighbour(grid, own[row] as number, direction);
      own[row] = next;
      return arrival(grid, next);
    },
    see({ cell }, row, into) {
      const own = (cell as Float64Array)[row] as number;
      if (view === undefined) into[own] = 1;
      else seeWindow(grid, own, view, into);
    },
  });
}

/** The same world as a table: states are cells, row-major. Its starts are the map's. */
export function gridModel(options: GridOptions = {}): TabularModel & { readonly starts: readonly number[] } {
  const grid = gridOf(options);
  const { cells, slip, starts } = grid;
  const outcome = (state: number, direction: number, probability: number) => {
    const next = neighbour(grid, state, direction);
    return { probability, next, ...arrival(grid, next) };
  };
  return {
    states: cells.length,
    actions: directions.length,
    starts,
    outcomes(state, action) {
      if ("#GO".includes(cells[state] as string)) return []; // nobody acts in a wall or after the end
      const meant = outcome(state, action, 1 - slip);
      return slip === 0 ? [meant] : [meant, ...directions.map((_, d) => outcome(state, d, slip / directions.length))];
    },
  };
}

function gridOf(options: GridOptions): Grid {
  const { map = room, stepReward = -0.01, goalReward = 1, pitReward = -1, slip = 0 } = options;
  const cells = map.join("");
  const columns = map[0]?.length ?? 0;
  const ragged = map.findIndex((line) => line.length !== columns);
  if (ragged >= 0)
    throw usageError(
      `grid world: line ${ragged} of the map has ${map[ragged]?.length} cells, and the first ${columns}`,
    );
  const odd = /[^#.SGO]/.exec(cells);
  if (odd !== null)
    throw usageError(`grid world: the map holds "${odd[0]}"; its cells are # (wall), . (floor), S, G (goal), O (pit)`);
  const starts = [...cells].flatMap((cell, i) => (cell === "S" ? [i] : []));
  if (starts.length === 0 || !cells.includes("G")) throw usageError("grid world: the map needs an S and a G");
  if (!(slip >= 0 && slip <= 1)) throw usageError(`grid world: slip lies from 0 to 1, not ${slip}`);
  return {
    rows: map.length,
    columns,
    cells,
    starts,
    rewards: { step: stepReward, goal: goalReward, pit: pitReward },
    slip,
  };
}

function slipped(action: number, slip: number, random: Random): number {
  const slips = random.uniform() < slip;
  const other = random.integer(directions.length); // always drawn, so that streams of episodes stay alike
  return slips ? other : action;
}

const cellAt = ({ rows, columns, cells }: Grid, row: number, column: number) =>
  row < 0 || row >= rows || column < 0 || column >= columns ? "#" : (cells[row * columns + column] as string);

function neighbour(grid: Grid, cell: number, direction: number): number {
  const [down, right] = directions[direction] as readonly [number, number];
  const row = Math.floor(cell / grid.columns) + down;
  const column = (cell % grid.columns) + right;
  return cellAt(grid, row, column) === "#" ? cell : row * grid.columns + column;
}

function arrival({ cells, rewards }: Grid, cell: number) {
  const kind = cells[cell];
  const besides = kind === "G" ? rewards.goal : kind === "O" ? rewards.pit : 0;
  return { reward: rewards.step + besides, terminated: kind === "G" || kind === "O" };
}

function seeWindow(grid: Grid, cell: number, view: number, into: Float32Array): void {
  const [row, column] = [Math.floor(cell / grid.columns), cell % grid.columns];
  let at = 0;
  for (let down = -view; down <= view; down++) {
    for (let right = -view; right <= view; right++) {
      const channel = "#GO".indexOf(cellAt(grid, row + down, column + right));
      if (channel >= 0) into[at + channel] = 1;
      at += 3;
    }
  }
}
