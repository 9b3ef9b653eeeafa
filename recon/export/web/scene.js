// The splats as the page holds them: a worker unpacks and sorts, this side asks.

export class Scene {
  /** `report(share)` while unpacking; `failed(message)` for everything that goes wrong in the worker. */
  constructor(source, report, failed) {
    this.tickets = 0;
    this.waiting = new Map();
    this.report = report;
    this.failed = failed;
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = ({ data }) => this.#receive(data);
    this.worker.onerror = (event) => failed(event.message || "The page's worker could not start.");
  }

  #receive(data) {
    if (data.error) this.failed(data.error);
    else if ("progress" in data) this.report(data.progress);
    else if (data.loaded) this.#settle("load", data.loaded);
    else if (data.sorted) this.#settle(data.ticket, data.sorted);
    else if ("hit" in data) this.#settle(data.ticket, data.hit);
  }

  #settle(ticket, value) {
    this.waiting.get(ticket)?.(value);
    this.waiting.delete(ticket);
  }

  #ask(ticket, message) {
    return new Promise((resolve) => {
      this.waiting.set(ticket, resolve);
      this.worker.postMessage(message);
    });
  }

  /** {shapes, lights} for textures with this many columns. */
  load(text, layout, columns) {
    return this.#ask("load", { load: { text, layout, columns } });
  }

  /** Order of drawing, farthest first, for the camera's z row. */
  sort(row, near) {
    const ticket = ++this.tickets;
    return this.#ask(ticket, { sort: { row, near, ticket } });
  }

  /** Distance to the surface along a ray, null where there is none. */
  hit(origin, direction, cone, near) {
    const ticket = ++this.tickets;
    return this.#ask(ticket, { hit: { origin, direction, cone, near, ticket } });
  }
}
