/**
 * Progress on standard error: one line that renews itself on a terminal; elsewhere plain lines, and only for what takes
 * longer than a second.
 */
import type { OpenProgress } from "../model/index.js";
import { formatBytes, formatSeconds, type OutputStream, withoutControls } from "./terminal.js";

export interface Progress {
  /** Something for the user to know. */
  notice(message: string): void;
  /** Downloads, notices and the conversion, as opening a model reports them. */
  report(event: OpenProgress): void;
  /** `done` of `total` of some work. Bytes come with their rate. `note`: what else is to be seen of it. */
  step(what: string, done: number, total: number | undefined, unit: "bytes" | "runs", note?: string): void;
  /** Ends the line that renews itself. */
  end(): void;
}

/** Milliseconds between two lines. */
const interval = { terminal: 100, plain: 5000 };
/** What takes less (milliseconds) is not worth a line outside a terminal. */
const patience = 1000;

/** @param now the time in milliseconds */
export function createProgress(stream: OutputStream, now: () => number = () => performance.now()): Progress {
  const terminal = stream.isTTY === true;
  let open = false;
  let current: { what: string; started: number; from: number; shown: number } | undefined;
  const end = () => {
    if (open) stream.write("\r\x1b[K");
    open = false;
    current = undefined;
  };
  const step: Progress["step"] = (what, done, total, unit, note) => {
    const time = now();
    // A terminal shows at once; elsewhere the first line is due after the patience.
    if (current?.what !== what)
      current = {
        what,
        started: time,
        from: done,
        shown: terminal ? time - interval.terminal : time + patience - interval.plain,
      };
    const finished = done === total;
    if (time - current.shown < (terminal ? interval.terminal : interval.plain) && !(terminal && finished)) return;
    current.shown = time;
    const rate = (done - current.from) / ((time - current.started) / 1000);
    const line = `${what}: ${describe(done, total, unit, rate)}${note === undefined ? "" : `, ${note}`}`;
    stream.write(terminal ? `\r\x1b[K${withoutControls(line)}` : `${withoutControls(line)}\n`);
    open = terminal;
    if (finished) end();
  };
  const notice = (message: string) => {
    end();
    stream.write(`${withoutControls(message)}\n`);
  };
  return {
    notice,
    step,
    end,
    report(event) {
      if (event.kind === "notice") notice(event.message);
      else if (event.kind === "download") step(`downloading ${event.file}`, event.received, event.total, "bytes");
      else step("converting weights", event.done, event.total, "bytes");
    },
  };
}

function describe(done: number, total: number | undefined, unit: "bytes" | "runs", rate: number): string {
  const amount = (value: number) => (unit === "bytes" ? formatBytes(value) : `${value}`);
  const of = total === undefined ? amount(done) : `${amount(done)} of ${amount(total)}`;
  if (!(rate > 0 && Number.isFinite(rate))) return of;
  const speed = unit === "bytes" ? `, ${formatBytes(rate)}/s` : "";
  const left = total === undefined ? "" : `, ${formatSeconds((total - done) / rate)} left`;
  return of + speed + left;
}
