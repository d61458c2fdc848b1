import { it } from "vitest";
import { createNetwork } from "../../src/model/index.js";
import { normals, tensor, tensorOf } from "../../src/runtime/index.js";
import { add, convolution, groupNorm, silu, relu, sigmoid, mul } from "../../src/graph/index.js";
const image = tensor("float32", [2,4,4,6], normals(192, 1));
const w = { a: tensorOf("float32",[6],[1,1,1,1,1,1]), b: tensorOf("float32",[6],[0,0,0,0,0,0]), k: tensor("float32",[6,4,3,3],normals(216,2)), s: tensor("float32",[6,4,1,1],normals(24,3)), kb: tensor("float32",[6],normals(6,2)) };
const cases: Record<string, any> = {
  plain: ({inputs,weight,site}:any)=>{ const c=site("c",convolution(inputs.image,weight("k"),{pads:1})); return {y: add(c, convolution(inputs.image,weight("s")))}; },
  bias: ({inputs,weight,site}:any)=>{ const c=site("c",convolution(inputs.image,weight("k"),{pads:1,bias:weight("kb")})); return {y: add(c, convolution(inputs.image,weight("s"),{bias:weight("kb")}))}; },
  relu: ({inputs,weight,site}:any)=>{ const c=site("c",convolution(relu(inputs.image),weight("k"),{pads:1,bias:weight("kb")})); return {y: relu(add(c, convolution(inputs.image,weight("s"),{bias:weight("kb")})))}; },
  input: ({inputs,weight,site}:any)=>{ const c=site("c",convolution(inputs.image,weight("k"),{pads:1})); return {y: add(c, 1)}; },
  gn: ({inputs,weight,site}:any)=>{ const c=site("c",convolution(inputs.image,weight("k"),{pads:1})); return {y: groupNorm(add(c, convolution(inputs.image,weight("s"))),2,{scale:weight("a"),bias:weight("b")})}; },
};
it("x", async () => { const n = createNetwork({inputs:{image:{dtype:"float32",shape:["batch",4,4,6]}}, weights:w, build:cases[process.env.CC!]}); await n.record({image},["c","y"]); await n.close(); });
