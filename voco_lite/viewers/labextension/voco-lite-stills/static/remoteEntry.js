// A prebuilt extension of JupyterLab, written by hand: it needs no build and asks no other machine.
//
// JupyterLab trusts a notebook that it ran and saved, and for trusted outputs it prefers a widget to the picture beside
// it. When the notebook is opened again the widget's model is gone, and ipywidgets says so instead of showing anything.
// Here the picture takes the place of that sentence, until the cell is run again.
(() => {
  const WIDGET = "application/vnd.jupyter.widget-view+json";
  const PNG = "image/png";
  let scope;

  const shared = async (name) => (await Object.values(scope[name])[0].get())();

  const still = (model) => {
    const image = document.createElement("img");
    image.src = `data:${PNG};base64,${[].concat(model.data[PNG]).join("").replace(/\s/g, "")}`;
    image.alt = model.metadata?.[PNG]?.alt ?? "";
    return image;
  };

  const withStill = (renderer) => {
    const render = renderer.renderModel.bind(renderer);
    renderer.renderModel = async (model) => {
      await render(model);
      const failed = renderer.node.textContent.startsWith("Error displaying widget");
      if (failed && model.data[PNG]) renderer.node.replaceChildren(still(model));
    };
    return renderer;
  };

  const watch = (panel) => {
    const rendermime = panel.content.rendermime;
    const create = rendermime.createRenderer.bind(rendermime);
    rendermime.createRenderer = (kind) => (kind === WIDGET ? withStill(create(kind)) : create(kind));
  };

  const plugin = async () => {
    const { INotebookTracker } = await shared("@jupyterlab/notebook");
    const activate = (app, tracker) => {
      tracker.forEach(watch);
      tracker.widgetAdded.connect((_, panel) => watch(panel));
    };
    return { id: "voco-lite-stills:plugin", autoStart: true, requires: [INotebookTracker], activate };
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["voco-lite-stills"] = {
    init: (given) => {
      scope = given;
    },
    get: async () => {
      const made = await plugin();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
