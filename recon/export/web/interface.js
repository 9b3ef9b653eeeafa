// Everything on the page that is not the picture.

const element = (id) => document.getElementById(id);

/** `actions`: {mode, photos, step(by), home, mesh} are called by the buttons; `both`: there are splats and a mesh. */
export class Interface {
  constructor(actions, photoCount, both) {
    this.photoCount = photoCount;
    element("mode").onclick = actions.mode;
    element("photos").onclick = actions.photos;
    element("previous").onclick = () => actions.step(-1);
    element("next").onclick = () => actions.step(1);
    element("home").onclick = actions.home;
    element("triangles").onclick = actions.mesh;
    element("triangles").hidden = !both;
    for (const row of document.querySelectorAll("[data-needs=both]")) row.hidden = !both;
    element("help-button").onclick = () => this.help();
    element("help").onclick = () => this.help(false);
    element("fullscreen").onclick = () => this.fullscreen();
    element("fullscreen").hidden = !document.documentElement.requestFullscreen;
    element("photos").hidden = photoCount === 0;
    for (const row of document.querySelectorAll("[data-needs=photos]")) row.hidden = photoCount === 0;
    if (photoCount) element("count").textContent += ` · ${photoCount} photos`;
  }

  /** Share of the unpacking that is done; null when it is over. */
  progress(share) {
    if (share === null) element("loading").remove();
    else element("bar").style.width = `${Math.round(100 * share)}%`;
  }

  error(message) {
    document.body.classList.add("broken");
    const box = element("error");
    box.textContent = message;
    box.hidden = false;
    element("loading")?.remove();
  }

  mode(name) {
    element("mode").setAttribute("aria-pressed", String(name === "fly"));
    this.say(name === "fly" ? "Fly: drag to look, W A S D to move" : "Orbit: drag to turn about the centre");
  }

  photos(visible, current) {
    element("photos").setAttribute("aria-pressed", String(visible));
    element("photo-bar").hidden = !visible;
    element("photo-name").textContent = current < 0 ? `${this.photoCount} photos` : `Photo ${current + 1} of ${this.photoCount}`;
  }

  mesh(shown) {
    element("triangles").setAttribute("aria-pressed", String(shown));
    this.say(shown ? "The surface as triangles" : "The scene as Gaussians");
  }

  help(show = element("help").hidden) {
    element("help").hidden = !show;
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => this.say("Full screen is not allowed here"));
  }

  hide() {
    document.body.classList.toggle("bare");
  }

  /** A line of text for two seconds. */
  say(text) {
    const line = element("message");
    line.textContent = text;
    line.classList.add("shown");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => line.classList.remove("shown"), 2200);
  }
}
