// The worker: unpacks once, then answers questions about order and distance.
import { bytesFromBase64, inflate, unpack } from "./unpack.js";
import { farthestFirst, hitDistance } from "./sort.js";

let splats = null;

async function load({ text, layout, columns }) {
  const buffer = await inflate(bytesFromBase64(text));
  const report = (share) => postMessage({ progress: share });
  const { positions, opacities, shapes, lights } = unpack(buffer, layout, columns, report);
  splats = { positions, opacities };
  postMessage({ loaded: { shapes, lights } }, [shapes.buffer, lights.buffer]);
}

onmessage = async ({ data }) => {
  try {
    if (data.load) await load(data.load);
    if (data.sort) {
      const order = farthestFirst(splats.positions, data.sort.row, data.sort.near);
      postMessage({ sorted: order, ticket: data.sort.ticket }, [order.buffer]);
    }
    if (data.hit) {
      const { origin, direction, cone, near, ticket } = data.hit;
      const opacityOf = (i) => (splats.opacities[i] / 255) ** 2;
      postMessage({ hit: hitDistance(splats.positions, opacityOf, origin, direction, cone, near), ticket });
    }
  } catch (error) {
    postMessage({ error: error.message });
  }
};
