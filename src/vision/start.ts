/** Where gradient ascent starts: grey, or pictures, written as the parameters that decode to them. */
import { usageError } from "../errors.js";
import { formatShape } from "../graph/index.js";
import type { Network } from "../model/index.js";
import { elementCount, type Random, type Tensor, tensor, zeros } from "../runtime/index.js";
import type { MaximizationOptions } from "./maximization.js";
import type { Parametrisation, Picture } from "./parametrisation.js";

/** The first parameters: those of a grey picture or of given ones, with noise. */
export async function startOf(
  network: Network,
  { encode }: Parametrisation,
  picture: Picture,
  rows: number,
  { start = "noise", noise = start === "noise" ? 0.01 : 0 }: MaximizationOptions,
  source: Random,
): Promise<Tensor<"float32">> {
  if (!(noise >= 0 && noise < Infinity)) throw usageError(`noise must be a number of at least 0, not ${noise}`);
  const pictures = start === "noise" ? greys(picture, rows) : startPictures(start, picture, rows);
  const { shape } = pictures;
  const program = network.compile(({ input }) => ({ parameters: encode(input("picture")) }), {
    picture: { dtype: "float32", shape },
  });
  const { parameters } = (await program({ picture: pictures })) as { parameters: Tensor<"float32"> };
  return tensor(
    "float32",
    shape,
    parameters.data.map((x) => x + noise * source.normal()),
  );
}

function greys({ channels, height, width, range }: Picture, rows: number): Tensor<"float32"> {
  const result = zeros("float32", [rows, channels, height, width]);
  result.data.fill((range[0] + range[1]) / 2);
  return result;
}

/** One picture for all rows, or one for each. */
function startPictures(start: Tensor, { channels, height, width, range }: Picture, rows: number): Tensor<"float32"> {
  const one = [channels, height, width];
  const shape = [rows, ...one];
  const fits = [one, shape].some((each) => each.join() === start.shape.join()) && start.dtype === "float32";
  if (!fits)
    throw usageError(
      `start must be float32${formatShape(one)} or ${formatShape(shape)}, not ${start.dtype}${formatShape(start.shape)}`,
    );
  const outside = (start.data as Float32Array).find((x) => !(x >= range[0] && x <= range[1]));
  if (outside !== undefined) throw usageError(`start holds ${outside}, outside of the range [${range.join(", ")}]`);
  const size = elementCount(one);
  const data = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) data.set((start.data as Float32Array).subarray(0, size), row * size);
  if (start.shape.length === 4) data.set(start.data as Float32Array);
  return tensor("float32", shape, data);
}
