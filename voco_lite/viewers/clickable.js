// Shows a PNG. With a hint, it tells the kernel which of its pixels was clicked and which key was pressed on it.
const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown"];
function render({ model, el }) {
  const img = document.createElement("img");
  let resting, last = 0;
  function show() {
    URL.revokeObjectURL(img.src);
    img.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    img.alt = model.get("alt");
  }
  function tell(kind, { clientX, clientY }) {
    const box = img.getBoundingClientRect(), scale = img.naturalWidth / box.width;
    model.send({ kind, x: (clientX - box.left) * scale, y: (clientY - box.top) * scale });
  }
  function press(event) {
    if (!KEYS.includes(event.key)) return;
    event.preventDefault(); // else the page scrolls
    if (event.repeat && event.timeStamp - last < 100) return;
    last = event.timeStamp;
    model.send({ kind: "key", key: event.key });
  }
  Object.assign(img, { className: "widget-image", style: "max-width: 100%; height: auto", title: model.get("hint") });
  if (model.get("hint")) Object.assign(img, { tabIndex: 0, onclick: (event) => tell("click", event), onkeydown: press });
  if (model.get("hovers")) img.onmousemove = (event) => { clearTimeout(resting); resting = setTimeout(tell, 60, "hover", event); };
  el.dataset.lmSuppressShortcuts = "true"; // else arrows go to the next cell
  model.on("change:value", show);
  el.append(img);
  show();
}
export default { render };
